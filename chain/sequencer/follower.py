"""Following L1: its clock, its inbox and its finality."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import InboxMessage
from chain.sequencer.store import StoreError

if TYPE_CHECKING:
    from chain.sequencer.sequencer import Sequencer

log = logging.getLogger(__name__)

INBOX_PAGE = 256


class Follower:
    """Asks L1 what is new, executes inbox messages, and takes in finality."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._poked = asyncio.Event()
        self._seen_time = (0, time.monotonic())

    @property
    def l1_time_s(self) -> int:
        """L1's time as last seen, moved on by what has passed since, so that an L1 outage doesn't stop L2 time."""
        seen_s, at = self._seen_time
        return seen_s + int(time.monotonic() - at)

    def poke(self) -> None:
        """Look at once instead of at the next poll."""
        self._poked.set()

    async def run(self) -> None:
        """Follow for ever; waits and tries again while L1 or the disk refuses."""
        config = self._sequencer.config
        pause_s = config.retry_s
        while True:
            try:
                async with asyncio.timeout(config.poll_s):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()
            try:
                await self.look()
                pause_s = config.retry_s
            except (ChainUnavailableError, ChainRejectedError, StoreError) as error:
                log.warning("L1 can't be followed: %s", error.line())
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, config.max_retry_s)

    async def look(self) -> None:
        """Take in what is new on L1.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            StoreError: If it could not be kept.
        """
        sequencer = self._sequencer
        await self.look_at_clock()
        messages = await sequencer.l1.inbox_messages(sequencer.head.state.meta.inbox_cursor, INBOX_PAGE)
        if messages:
            async with sequencer.writing:
                await self._execute(messages)
        if await self.is_final_due():
            await self.take_finality(await sequencer.l1.final_count())

    async def look_at_clock(self) -> None:
        """See what time it is on L1.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        now_s = await self._sequencer.l1.time_s()
        self._seen_time = (max(self._seen_time[0], now_s), time.monotonic())

    async def is_final_due(self) -> bool:
        """Whether the oldest batch that isn't final is past its window."""
        sequencer = self._sequencer
        if sequencer.final.count >= sequencer.poster.posted_count:
            return False
        row = await sequencer.store.batch(sequencer.final.count)
        window_s = sequencer.deployment.challenge_window_s
        return row is not None and row.submitted_at_s is not None and row.submitted_at_s + window_s <= self.l1_time_s

    async def take_finality(self, final_count: int) -> None:
        """Take in that so many batches are final on L1.

        Raises:
            StoreError: If it could not be kept.
        """
        sequencer = self._sequencer
        async with sequencer.writing:
            await sequencer.final.advance(sequencer.store, final_count, self.l1_time_s)

    async def _execute(self, messages: Sequence[InboxMessage]) -> None:
        sequencer = self._sequencer
        for message in messages:
            if message.index != sequencer.head.state.meta.inbox_cursor:
                break
            batch = sequencer.head.open
            if batch is not None and (batch.tx_count or sequencer.is_full(0)):
                sequencer.poster.seal()
            sequencer.head.execute_message(message, self.l1_time_s)
        await sequencer.commit_head()
        sequencer.poster.wake()
