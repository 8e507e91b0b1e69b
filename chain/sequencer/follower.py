"""Following L1: its clock, its history, the leader, the inbox and finality."""

from __future__ import annotations

import asyncio
import contextlib

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.logs import get_logger
from chain.retry import retry
from chain.sequencer.finality import Finality
from chain.sequencer.inbox import InboxExecutor
from chain.sequencer.leadership import Leadership
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.poster import Poster
from chain.sequencer.store import SequencerStoreError

log = get_logger(__name__)


class L1Follower:
    """Asks L1 what is new, executes inbox messages, and takes in finality.

    Args:
        ledger: What moves on.
        inbox: Executes the inbox.
        leadership: Knows whether this sequencer may post.
        finality: Knows what is final.
        poster: Told when L1 shows other batches than the ledger has.
    """

    def __init__(
        self, ledger: SequencerLedger, inbox: InboxExecutor, leadership: Leadership, finality: Finality, poster: Poster
    ) -> None:
        self._ledger = ledger
        self._inbox = inbox
        self._leadership = leadership
        self._finality = finality
        self._poster = poster
        self.poked = asyncio.Event()
        """Set when L1 is to be looked at without waiting for the next poll."""
        self._seen_block: tuple[int, bytes] | None = None

    def poke(self) -> None:
        """Look at once instead of at the next poll."""
        self.poked.set()

    async def run(self) -> None:
        """Follow until cancelled; waits and tries again while L1 or the disk refuses."""
        config = self._ledger.config
        while True:
            await retry(
                self._look_when_due,
                on=(ChainUnavailableError, ChainRejectedError, SequencerStoreError),
                wait_s=config.retry_s,
                max_wait_s=config.max_retry_s,
                on_failure=lambda error: log.warning("l1_follow_failed", error=error.line()),
            )

    async def _look_when_due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ledger.config.poll_s):
                await self.poked.wait()
        self.poked.clear()
        await self.look()

    async def look(self) -> None:
        """Take in what is new on L1.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            SequencerStoreError: If it could not be kept.
        """
        ledger = self._ledger
        await ledger.clock.look()
        await self._look_at_history()
        if ledger.accepts:
            await self._inbox.execute_if_new()
        if await self._finality.is_due():
            await self._finality.advance(await ledger.l1.final_count())

    async def _look_at_history(self) -> None:
        """See whether L1 went on, and whether what it showed before is still its history."""
        ledger, seen = self._ledger, self._seen_block
        number = await ledger.l1.block_number()
        is_reorg = seen is not None and (number < seen[0] or await ledger.l1.block_hash(seen[0]) != seen[1])
        is_new = seen is None or is_reorg or number != seen[0]
        if is_new:
            self._inbox.look_again()
            if ledger.fees.follows_l1:
                ledger.fees.saw_gas_price(await ledger.l1.gas_price_wei())
        if is_new or not ledger.leads or ledger.is_turn_over:
            await self._poster.look_at_leader()
            standing = await ledger.l1.batch_count()
            if is_reorg or (standing != ledger.posted_count and not self._poster.is_posting):
                self._poster.compare_again(is_reorg=is_reorg)
        if is_new:
            block_hash = await ledger.l1.block_hash(number)
            self._seen_block = (number, block_hash) if block_hash is not None else None
