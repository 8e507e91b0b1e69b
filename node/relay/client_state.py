"""What a relay client tells about itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from node.relay.circuit import NodeId

Phase = Literal["connecting", "online", "reconnecting", "closed"]


@dataclass(frozen=True, slots=True)
class RelayState:
    """A client's connection to its relay, at one moment."""

    phase: Phase
    since_ms: int
    """When this phase began, milliseconds UTC."""
    rtt_ms: float | None = None
    """The last measured round trip to the relay."""
    reconnects: int = 0
    """How often the connection was made again."""
    last_error: str = ""
    """One line about the latest failure, empty if there was none."""


@dataclass(frozen=True, slots=True)
class OfferListing:
    """One offer as a relay lists it: unverified bytes."""

    node_id: NodeId
    offer: bytes


def now_ms() -> int:
    """The time in milliseconds UTC."""
    return time.time_ns() // 1_000_000
