"""Sealing and posting: when a batch is due, and how it comes to stand on L1 exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.sequencer import refusals
from chain.sequencer.realign import is_same
from chain.sequencer.store import BatchRow, StoreError, insert_event, mark_posted

if TYPE_CHECKING:
    from chain.sequencer.sequencer import Sequencer

log = logging.getLogger(__name__)


_OUTDATED = frozenset({"inbox_ignored", "inbox_beyond_end", "inbox_backwards", "l2_time_backwards", "l2_time_behind"})
"""L1's refusals of a sealed batch that it will never take: it has to be built anew, with today's inbox and time."""

_MISPLACED = frozenset({"wrong_batch_id", "wrong_previous_root", "batch_taken"})
"""L1's refusals that say that other batches stand there than we thought."""


class Poster:
    """Turns open batches into batches on L1, in order."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._awake = asyncio.Event()
        self._progress = asyncio.Event()
        self._flush_below = 0
        self._is_astray = False
        self._is_reorg = False
        self.is_posting = False
        """Whether a batch is on its way, which L1 may show before this sequencer knows that it stands."""
        self._filling: tuple[int, float] = (-1, 0.0)
        self.unposted_items = 0
        """Items of the batches that are sealed but not known to stand on L1, and transactions set aside."""
        self.posted_count = 0
        """One past the newest batch that is known to stand on L1."""

    def wake(self) -> None:
        """Look again at what is due."""
        self._awake.set()

    def wake_all(self) -> None:
        """Let everyone who waits for progress look again, since there may be none any more."""
        self._awake.set()
        self._progress.set()

    def seal(self) -> None:
        """Close the open batch; the caller holds ``writing`` and commits the head."""
        batch = self._sequencer.head.open
        assert batch is not None
        self._sequencer.head.seal()
        self.unposted_items += batch.item_count
        self._awake.set()

    def look_again(self, *, is_reorg: bool) -> None:
        """Compare with L1 before anything else is posted, since it shows other batches or another history."""
        self._is_astray = True
        self._is_reorg |= is_reorg
        self._awake.set()

    async def recount(self) -> None:
        """Read anew what is posted and what is not."""
        store = self._sequencer.store
        self.posted_count = await store.posted_count()
        self.unposted_items = await store.unposted_items() + await store.set_aside_count()

    async def run(self) -> None:
        """Seal and post for ever; waits and tries again while L1 or the disk refuses."""
        config = self._sequencer.config
        pause_s = config.retry_s
        while True:
            await self._due()
            try:
                await self._realign_if_astray()
                await self._seal_if_due()
                while (row := await self._sequencer.store.first_unposted()) is not None:
                    await self._post(row)
                pause_s = config.retry_s
            except (ChainUnavailableError, ChainRejectedError, StoreError) as error:
                log.warning("a batch could not be posted yet: %s", error.line())
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, config.max_retry_s)

    async def flush(self, timeout_s: float) -> None:
        """Post everything acknowledged so far, and wait for it.

        Raises:
            ChainUnavailableError: If that took longer than ``timeout_s``.
            ChainRejectedError: If the sequencer stopped meanwhile.
        """
        head = self._sequencer.head
        target = head.next_batch + (1 if head.open is not None else 0)
        self._flush_below = max(self._flush_below, target)
        self._awake.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self.posted_count < target and self._sequencer.pending_txs():
                    if self._sequencer.halted:
                        raise refusals.halted(self._sequencer.halted)
                    await self._progress.wait()
        except TimeoutError:
            raise ChainUnavailableError(
                "L1 did not take the batch in time.", code="l1_slow", fix="Try again; nothing is lost."
            ) from None

    async def _due(self) -> None:
        while True:
            self._awake.clear()
            remaining_s = self._remaining_s()
            is_due = self._sequencer.leads and (self.unposted_items or remaining_s == 0)
            if is_due or self._is_astray:
                return
            try:
                async with asyncio.timeout(remaining_s if self._sequencer.leads else None):
                    await self._awake.wait()
            except TimeoutError:
                return

    def _remaining_s(self) -> float | None:
        """How long the open batch may still fill; ``None`` where none is open."""
        batch = self._sequencer.head.open
        if batch is None:
            return None
        now = time.monotonic()
        if self._filling[0] != batch.batch_id:
            self._filling = (batch.batch_id, now)
        if batch.batch_id < self._flush_below:
            return 0
        return max(0.0, self._filling[1] + self._sequencer.config.batch_interval_s - now)

    async def _realign_if_astray(self) -> None:
        if self._is_astray:
            is_reorg = self._is_reorg
            self._is_astray = self._is_reorg = False
            await self._realign(is_reorg=is_reorg)
            await self._sequencer.follower.look_at_leader()
            self._made_progress()

    async def _realign(self, *, is_reorg: bool = False, must_rebuild: bool = False) -> None:
        """Agree with L1, and come back to it where L1 or the disk fails halfway, with transactions set aside."""
        try:
            await self._sequencer.realigner.realign(is_reorg=is_reorg, must_rebuild=must_rebuild)
        except BaseException:
            self.look_again(is_reorg=is_reorg)
            raise

    async def _seal_if_due(self) -> None:
        async with self._sequencer.writing:
            if self._remaining_s() == 0:
                self.seal()
                await self._sequencer.commit_head()

    async def _post(self, row: BatchRow) -> None:
        sequencer = self._sequencer
        assert row.blob is not None
        if await sequencer.l1.batch_count() != row.batch_id:
            await self._realign()
            self._made_progress()
            return
        self.is_posting = True
        try:
            posted = await sequencer.l1.submit_batch(row.batch_id, row.prev_root, row.blob)
            if not is_same(row, posted):
                raise ChainUnavailableError(
                    f"The L1 contradicts itself: it took another batch {row.batch_id} than it was given.",
                    code="chain_bad_answer",
                    fix="Use an L1 node that you trust.",
                )
            noun = "transaction" if row.tx_count == 1 else "transactions"
            text = f"Batch {row.batch_id} posted: {row.tx_count} {noun} in {row.size_bytes} bytes."
            await sequencer.store.commit(
                [
                    mark_posted(row.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
                    *insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex()),
                ]
            )
            await self.recount()
        except ChainRejectedError as error:
            if error.code in _OUTDATED or error.code in _MISPLACED:
                await self._realign(must_rebuild=error.code in _OUTDATED)
            await sequencer.follower.look_at_leader()
            raise
        finally:
            self.is_posting = False
        self._made_progress()

    def _made_progress(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()
