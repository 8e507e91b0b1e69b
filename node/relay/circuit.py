"""The interface of a circuit: an ordered, flow-controlled stream of opaque frames to one peer, over a relay."""

from __future__ import annotations

from typing import NewType, Protocol

from chain.errors import IdlewattError

NodeId = NewType("NodeId", str)
"""A node's identity at relays: its Ed25519 public key as 64 lower-case hex digits."""


class RelayError(IdlewattError):
    """The relay could not be reached, or refused with a coded error."""

    default_code = "relay_unreachable"


class CircuitClosedError(IdlewattError):
    """The circuit ended; ``code`` is the closer's (``done``, ``peer_gone``, ``limit_…``, ``protocol``, …)."""

    default_code = "circuit_closed"


class Circuit(Protocol):
    """One end of a circuit."""

    @property
    def peer(self) -> NodeId:
        """The node at the other end."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send one frame; wait while the peer has given too little credit.

        Raises:
            CircuitClosedError: If the circuit has ended.
            RelayError: If the frame is larger than the relay's limit.
        """
        ...

    async def receive(self) -> bytes:
        """The next frame, in order.

        Raises:
            CircuitClosedError: When the circuit has ended and every frame was read.
        """
        ...

    async def close(self, code: str = "done", reason: str = "") -> None:
        """End the circuit; calling it twice does nothing."""
        ...
