"""A node's session at a relay: what the relay keeps of a node while its websocket comes and goes."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, Protocol

from node.relay.resumable_stream import ResumableStream
from node.wire.wire_error import WireError

_TOKEN_BYTES: Final = 32


class Connection(Protocol):
    """What a session needs of the websocket that serves it."""

    def cut(self, error: WireError) -> None:
        """Send the coded error and close the websocket, soon; returns at once."""
        ...


class NodeSession:
    """One node's session. It outlives a websocket by the relay's grace time.

    Args:
        node: The node's Ed25519 public key, 32 bytes.
        connection: The websocket that opened the session.
    """

    def __init__(self, node: bytes, connection: Connection) -> None:
        self.node = node
        self.token = secrets.token_bytes(_TOKEN_BYTES)
        """A secret that resumes this session, together with the node's signature."""
        self.stream = ResumableStream()
        self.wake = asyncio.Event()
        """Set when the stream has something to send."""
        self.connection: Connection | None = connection
        """The websocket that serves the session now; ``None`` while the node is away."""
        self.grace: asyncio.TimerHandle | None = None
        """Ends the session if the node doesn't come back."""
        self.accounted_bytes = 0
        """What of ``stream.buffered_bytes`` the relay's total contains."""
