"""One buyer's open session between its requests: a chat's next question needs no new circuit and no new seal."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NamedTuple

from chain.errors import IdlewattError
from node.session import messages as m
from node.session.mailbox import Mailbox

FIRST_WORD_S: Final = 20.0
"""How long a buyer may say nothing at first."""
STANDING_S: Final = 300.0
"""How long its session stays open after an answer; the node may end it sooner, when others want its place."""
GOODBYE_S: Final = 1.0


class ClosingReason(NamedTuple):
    """Why a buyer that asks nothing is sent away."""

    code: str
    message: str


class IdleSession:
    """Waits for what the buyer says next.

    Args:
        mailbox: What it says on its open link.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.was_served = False
        """Whether a request of it was answered and paid for."""
        self._dismissal: ClosingReason | None = None
        self._is_listening = False

    @property
    def is_standing(self) -> bool:
        """Whether nothing runs since its last answer, and it was not sent away yet."""
        return self._is_listening and self.was_served and self._dismissal is None

    def dismiss(self, why: ClosingReason) -> None:
        """Send the buyer away, as soon as nothing of it runs."""
        self._dismissal = why
        self.mailbox.stirred.set()

    async def speaks(self) -> bool:
        """Wait for its next word. ``False`` when it left, said nothing for too long, or was told to go."""
        stirred, self._is_listening = self.mailbox.stirred, True
        try:
            async with asyncio.timeout(STANDING_S if self.was_served else FIRST_WORD_S):
                while self.mailbox.is_empty and self._dismissal is None:
                    stirred.clear()
                    await stirred.wait()
        except TimeoutError:
            return False
        finally:
            self._is_listening = False
        if self._dismissal is None:
            return not (self.was_served and self.mailbox.is_over)
        with contextlib.suppress(IdlewattError, TimeoutError):  # who has left needs no goodbye
            async with asyncio.timeout(GOODBYE_S):
                code, message = self._dismissal
                await self.mailbox.link.send(m.Fault(code=code, message=message, fix="Choose another offer."))
        return False
