"""The state of a relay client, as it reports it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from chain.logs import get_logger
from node.relay.circuit import NodeId
from node.relay.client_errors import ConnectionFailure
from node.relay.clock import RelayClock

log: Final = get_logger(__name__)

Phase = Literal["connecting", "online", "reconnecting", "closed"]


@dataclass(frozen=True, slots=True)
class RelayState:
    """The state of a client's connection to its relay at one moment."""

    phase: Phase
    since_ms: int
    """When this phase began, milliseconds UTC."""
    rtt_ms: float | None = None
    """The last measured round trip to the relay."""
    reconnects: int = 0
    """How often the connection was made again."""
    clock: RelayClock | None = None
    """The relay's clock as last heard."""
    last_failure: ConnectionFailure | None = None
    """The latest failure, ``None`` if there was none."""


@dataclass(frozen=True, slots=True)
class OfferListing:
    """One offer as a relay lists it; not verified."""

    node_id: NodeId
    offer: bytes


class StateTracker:
    """The present state of a client; tells a listener of every change.

    Args:
        on_state: Called on the event loop with each new state; an exception that it raises is logged and dropped.
    """

    def __init__(self, on_state: Callable[[RelayState], None] | None) -> None:
        self._on_state = on_state
        self.state = RelayState("connecting", now_ms())
        self.changed = asyncio.Event()
        """Set at each change; whoever waits for it clears it."""

    @property
    def is_closed(self) -> bool:
        """Whether the client is closed: it will not connect again."""
        return self.state.phase == "closed"

    def enter(self, phase: Phase, failure: ConnectionFailure | None = None, *, clock: RelayClock | None = None) -> None:
        """Note the phase; one that begins now gets the present time.

        Args:
            phase: The phase from now on.
            failure: What led here; ``None`` keeps the latest failure.
            clock: The relay's clock; ``None`` keeps what is known of it.
        """
        state = self.state
        if phase != state.phase:
            came_back = state.phase == "reconnecting" and phase == "online"
            state = replace(state, phase=phase, since_ms=now_ms(), reconnects=state.reconnects + came_back)
        self._set(replace(state, last_failure=failure or state.last_failure, clock=clock or state.clock))

    def note_pong(self, rtt_ms: float, clock: RelayClock | None) -> None:
        """Note a measured round trip, and the relay's clock where it came with it."""
        self._set(replace(self.state, rtt_ms=rtt_ms, clock=clock or self.state.clock))

    def _set(self, state: RelayState) -> None:
        if state == self.state:
            return
        self.state = state
        self.changed.set()
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                log.exception("relay_state_listener_failed")


def now_ms() -> int:
    """The time in milliseconds UTC."""
    return time.time_ns() // 1_000_000
