"""The limits of a relay, each with its coded error, and a token bucket for rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from chain.errors import UsageError
from node.wire import messages as m

_MESSAGE_SLACK_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """A relay's limits; every one is positive.

    Raises:
        UsageError: If a limit is out of its range.
    """

    frame_bytes: int = 65_536
    """Largest circuit frame; ``limit_frame``."""
    window_bytes: int = 262_144
    """Most unread bytes of one circuit and direction; ``credit``."""
    circuits_per_node: int = 64
    """Circuits of one node, both ways together; ``limit_circuits``."""
    offers_per_node: int = 16
    """Offers that one node may list; ``limit_offers``."""
    offer_bytes: int = 16_384
    """Largest offer; ``limit_offer_bytes``."""
    page_bytes: int = 262_144
    """Most bytes of offers in one page."""
    nodes: int = 4_096
    """Sessions at once, those in their grace time included; ``limit_nodes``."""
    connections_per_ip: int = 256
    """TCP connections from one address (IPv6: one /64); ``limit_connections``. Behind a reverse proxy all share one."""
    bytes_per_s: int = 16 * 1024 * 1024
    """Steady rate of one node; ``limit_rate``."""
    burst_bytes: int = 32 * 1024 * 1024
    """Bytes that one node may send at once above the steady rate; ``limit_rate``."""
    buffered_bytes: int = 256 * 1024 * 1024
    """Most bytes that the relay keeps for all nodes together; the node with most gets ``limit_buffer``."""
    handshake_s: float = 10.0
    """From the TCP connection to a valid signature; ``handshake_timeout``."""
    idle_s: float = 60.0
    """Longest silence of a connected node, which pings in time; ``idle_timeout``."""
    resume_grace_s: float = 30.0
    """How long a lost node's circuits wait for it to resume."""
    close_s: float = 2.0
    """How long a closing connection may take to read its coded error."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise UsageError(f"The relay limit {field.name} must be positive.")
        ceilings = {
            "frame_bytes": m.MAX_FRAME_BYTES,
            "window_bytes": m.MAX_WINDOW_BYTES,
            "circuits_per_node": 65_535,
            "offers_per_node": m.MAX_OFFERS_PER_NODE,
            "offer_bytes": m.MAX_OFFER_BYTES,
            "page_bytes": 1024 * 1024,
        }
        for name, ceiling in ceilings.items():
            if getattr(self, name) > ceiling:
                raise UsageError(f"The relay limit {name} can be {ceiling} at most.")
        if self.window_bytes < self.least_window_bytes:
            raise UsageError(f"The relay limit window_bytes must be {self.least_window_bytes} at least: two frames.")

    @property
    def least_window_bytes(self) -> int:
        """The smallest window that never stalls a sender whose receiver grants half windows: two frames."""
        return 2 * (self.frame_bytes + m.FRAME_COST_BYTES)

    @property
    def message_bytes(self) -> int:
        """The largest encoded message that these limits admit."""
        return max(self.frame_bytes, self.offers_per_node * (self.offer_bytes + 8)) + _MESSAGE_SLACK_BYTES

    @property
    def node_buffered_bytes(self) -> int:
        """Most bytes that the relay keeps for one node while every node keeps to its credit."""
        return self.circuits_per_node * self.window_bytes + 8 * (self.page_bytes + self.frame_bytes)


class TokenBucket:
    """A byte rate with a burst allowance.

    Args:
        rate_per_s: Bytes that flow back a second.
        burst: Bytes that a full bucket holds.
        clock: Seconds that only rise.
    """

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._at = clock()

    def take(self, amount: float) -> float:
        """Take ``amount`` bytes, even below zero.

        Returns:
            The seconds until the level is zero again; 0 if it isn't below.
        """
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)
