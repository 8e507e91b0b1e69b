"""A buyer's session that stays open between requests: the next question needs no new circuit or handshake."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NamedTuple

from chain.errors import ErrorCode, IdlewattError
from node.session import messages as m
from node.session.mailbox import Mailbox

FIRST_MESSAGE_S: Final = 20.0
"""How long a buyer may take to send its first message."""
CLOSE_S: Final = 1.0


class ClosingReason(NamedTuple):
    """Why an idle session is closed."""

    code: ErrorCode
    message: str


class IdleSession:
    """Waits for the buyer's next message.

    Args:
        mailbox: The messages that arrive on its sealed link.
        idle_s: How long it stays open after an answer.
    """

    def __init__(self, mailbox: Mailbox, *, idle_s: float) -> None:
        self._idle_s = idle_s
        self.mailbox = mailbox
        self.was_served = False
        """Whether a request of this session was answered and paid for."""
        self._closing_reason: ClosingReason | None = None
        self._is_listening = False

    @property
    def is_idle(self) -> bool:
        """Whether the session is idle after an answer and is not being closed."""
        return self._is_listening and self.was_served and self._closing_reason is None

    def close_soon(self, why: ClosingReason) -> None:
        """Close the session as soon as it is idle."""
        self._closing_reason = why
        self.mailbox.wake.set()

    async def next_message_comes(self) -> bool:
        """Wait for the next message. ``False`` when the buyer left, was silent too long, or the session is closed."""
        wake, self._is_listening = self.mailbox.wake, True
        try:
            async with asyncio.timeout(self._idle_s if self.was_served else FIRST_MESSAGE_S):
                while self.mailbox.is_empty and self._closing_reason is None:
                    wake.clear()
                    await wake.wait()
        except TimeoutError:
            return False
        finally:
            self._is_listening = False
        if self._closing_reason is None:
            return not (self.was_served and self.mailbox.is_over)
        with contextlib.suppress(IdlewattError, TimeoutError):  # a buyer that has left gets no message
            async with asyncio.timeout(CLOSE_S):
                code, message = self._closing_reason
                await self.mailbox.link.send(m.Fault(code=code, message=message, fix="Choose another offer."))
        return False
