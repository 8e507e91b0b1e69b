"""How many processor threads a model computes with."""

from __future__ import annotations

import msgspec

from node.hardware.backend import physical_cores

BYTES_PER_THREAD = 32 * 1024 * 1024
"""Weights that keep one thread busy for longer than the threads' waiting for each other costs, layer by layer."""


class Threads(msgspec.Struct, frozen=True):
    """Threads for the next token of one stream, and for everything larger: several streams, or a prompt."""

    single: int
    batch: int


def default_threads(weights_bytes: int) -> int:
    """One thread a physical core that this process may use, and fewer for a small model.

    On a busy machine threads wait for each other at every layer: a model of a few megabytes is several times faster
    on one thread than on two.

    Args:
        weights_bytes: Size of all tensors.
    """
    return max(1, min(physical_cores(), 1 + weights_bytes // BYTES_PER_THREAD))
