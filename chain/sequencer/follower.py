"""Following L1: its clock, its history, who leads, its inbox and its finality."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import MIN_BOND_WEI, InboxMessage
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
        self._seen_block: tuple[int, bytes] | None = None
        self._is_inbox_read = False

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
        await self._look_at_history()
        if sequencer.leads and not self._is_inbox_read:
            self._is_inbox_read = True
            try:
                await self.take_messages()
            except BaseException:
                self.read_inbox_again()
                raise
        if await self.is_final_due():
            await self.take_finality(await sequencer.l1.final_count())

    def read_inbox_again(self) -> None:
        """Look into the inbox at the next look, though L1 has no new block."""
        self._is_inbox_read = False

    async def look_at_leader(self) -> None:
        """See whether this sequencer may post.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        sequencer = self._sequencer
        leads = await self._may_post()
        if leads != sequencer.leads:
            log.info("this sequencer %s", "leads now" if leads else "stands by now")
            sequencer.leads = leads
            self.read_inbox_again()
            sequencer.poster.look_again(is_reorg=False)

    async def take_messages(self) -> None:
        """Execute every inbox message that is deep enough in L1.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            StoreError: If it could not be kept.
        """
        while messages := await self._new_messages():
            async with self._sequencer.writing:
                await self._execute(messages)

    async def take_messages_holding(self) -> None:
        """The same for a caller that holds ``writing``, and goes on doing so while L1 is asked."""
        while messages := await self._new_messages():
            await self._execute(messages)

    async def _new_messages(self) -> Sequence[InboxMessage]:
        """A page of the inbox that begins where the head stands in it; empty where nothing new is deep enough."""
        sequencer = self._sequencer
        cursor = sequencer.head.state.meta.inbox_cursor
        messages = await sequencer.l1.inbox_messages(cursor, INBOX_PAGE)
        if sequencer.config.inbox_confirmations and messages:
            newest = await sequencer.l1.block_number() - sequencer.config.inbox_confirmations
            messages = [message for message in messages if message.l1_block <= newest]
        return messages if messages and messages[0].index == cursor else []

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

    async def _look_at_history(self) -> None:
        """See whether L1 went on, and whether what it showed before is still its history."""
        sequencer, seen = self._sequencer, self._seen_block
        number = await sequencer.l1.block_number()
        is_reorg = seen is not None and (number < seen[0] or await sequencer.l1.block_hash(seen[0]) != seen[1])
        is_new = seen is None or is_reorg or number != seen[0]
        if is_new:
            self.read_inbox_again()
        if is_new or not sequencer.leads:
            await self.look_at_leader()
            standing = await sequencer.l1.batch_count()
            if is_reorg or (standing != sequencer.poster.posted_count and not sequencer.poster.is_posting):
                sequencer.poster.look_again(is_reorg=is_reorg)
        if is_new:
            block_hash = await sequencer.l1.block_hash(number)
            self._seen_block = (number, block_hash) if block_hash is not None else None

    async def _may_post(self) -> bool:
        sequencer = self._sequencer
        l1 = sequencer.l1
        me = l1.sender
        if sequencer.realigner.wrong_batch is not None or me is None:
            return False
        if (await l1.bond(me)).amount_wei < MIN_BOND_WEI:
            return False
        leader = await l1.leader()
        if leader is None or leader == me:
            return True
        return (await l1.bond(leader)).amount_wei < MIN_BOND_WEI or await l1.is_overdue()

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
