"""How often a node reads L1."""

from __future__ import annotations

import msgspec


class L1Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When L1 is read, by whatever in a node reads it again and again."""

    first_look_s: float = 3.0
    """The first reading comes so late that a command which ends sooner never loads web3."""
    look_s: float = 5.0
    """The pause between two readings."""
    retry_s: float = 10.0
    """The pause after a watchtower failed."""
