"""The worker's end of the socket pair."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from node.engine import ipc

_RECEIVE_BYTES = 1 << 18


class ParentGoneError(Exception):
    """The engine's end of the socket pair is closed."""


class EngineConnection:
    """Frames from and to the engine.

    Args:
        sock: The worker's end.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = ipc.FrameDecoder()
        self._kept: list[ipc.ToWorker] = []
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive(self, *, wait_ms: float | None = 0) -> list[ipc.ToWorker]:
        """Frames that have arrived; waits so long for some, without end if `None`.

        Raises:
            ParentGoneError: If none will ever come.
        """
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        if not self._poll.poll(wait_ms):
            return []
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except ConnectionError as error:
            raise ParentGoneError from error
        if not data:
            raise ParentGoneError
        return self._decoder.feed_to_worker(data)

    def keep(self, items: list[ipc.ToWorker]) -> None:
        """Have the next `receive` return these."""
        self._kept = items

    def send(self, items: Sequence[ipc.FromWorker]) -> None:
        """Send frames.

        Raises:
            ParentGoneError: If the engine is gone.
        """
        try:
            self._sock.sendall(ipc.encode(items))
        except (ConnectionError, BrokenPipeError) as error:
            raise ParentGoneError from error
