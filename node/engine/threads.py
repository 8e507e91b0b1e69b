"""How many processor threads a model computes with."""

from __future__ import annotations

import msgspec


class Threads(msgspec.Struct, frozen=True):
    """Threads for the next token of one stream, and for everything larger: several streams, or a prompt."""

    single: int
    batch: int
