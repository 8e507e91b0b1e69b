"""How many processor threads a model computes with."""

from __future__ import annotations

import os
import sys

import msgspec


class Threads(msgspec.Struct, frozen=True):
    """Threads for the next token of one stream, and for everything larger: several streams, or a prompt."""

    single: int
    batch: int


def usable_cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
