"""Reads ahead what the peer of a sealed session sends, up to a limit; serves one request after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Self

from node.session.messages import Message
from node.session.sealed_link import SealedLink

READ_AHEAD_MESSAGES: Final = 64
"""Messages that may wait to be taken. At this number reading stops, and the peer waits for credit."""


class Mailbox:
    """Reads a link in a task of its own, from ``open`` to ``close`` or within ``async with``. Nobody else may read it.

    Args:
        link: The open sealed link.
        most: How many messages may wait to be taken.
    """

    def __init__(self, link: SealedLink, *, most: int = READ_AHEAD_MESSAGES) -> None:
        self.link = link
        self._most = most
        self._messages: deque[Message] = deque()
        self._end: Exception | None = None
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        """Set when something has come. Its owner clears it, and may set it for other events that it waits for."""

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def open(self) -> None:
        """Begin to read."""
        self._reader = asyncio.create_task(self._read(), name="mailbox")

    async def close(self) -> None:
        """Stop reading; calling it twice does nothing."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken: no message, and no end of the link."""
        return not self._messages and self._end is None

    @property
    def is_over(self) -> bool:
        """Whether the link has ended and everything before its end was taken."""
        return not self._messages and self._end is not None

    def take(self) -> Message | None:
        """The next message, or ``None`` where none has come yet.

        Raises:
            MessageError: If the peer said what is no message of ours.
            SealError: If a frame was forged, lost or replayed.
            CircuitClosedError: When the peer has ended the session, or the circuit broke; every time from then on.
        """
        if self._messages:
            self._room.set()
            return self._messages.popleft()
        if self._end is not None:
            raise self._end
        return None

    async def _read(self) -> None:
        try:
            while True:
                self._messages.append(await self.link.receive())
                self.wake.set()
                while len(self._messages) >= self._most:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            # The messages that came before are taken first.
            self._end = error
            self.wake.set()
