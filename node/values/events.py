"""What a node tells its listeners of itself: that the snapshot changed, a notice, a line of the log."""

from __future__ import annotations

from typing import Literal

import msgspec


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """One line of the node's log."""

    at_ms: int
    level: Literal["debug", "info", "warning", "error", "critical"]
    source: str
    text: str


class NodeChanged(msgspec.Struct, frozen=True, kw_only=True, tag="changed"):
    """Something in the snapshot changed; take a new one. Coalesced, so a slow reader never falls behind."""

    what: Literal["phase", "jobs", "relay", "chain", "wallet", "market", "devices", "models"]


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """Something a person should be told once."""

    severity: Literal["information", "warning", "error"]
    text: str


NodeEvent = NodeChanged | Notice | LogLine
