"""Sealing and posting: when a batch is due, and how it comes to stand on L1 exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from chain.errors import ChainRejectedError, ChainUnavailableError, IdlewattError
from chain.l1.protocol import PostedBatch
from chain.sequencer import refusals
from chain.sequencer.store import BatchRow, StoreError, insert_event, mark_posted, mark_unposted

if TYPE_CHECKING:
    from chain.sequencer.sequencer import Sequencer

log = logging.getLogger(__name__)


class DivergedError(IdlewattError):
    """L1 holds another batch than this sequencer executed."""

    default_code = "diverged"


class Poster:
    """Turns open batches into batches on L1, in order."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._awake = asyncio.Event()
        self._progress = asyncio.Event()
        self._flush_below = 0
        self._filling: tuple[int, float] = (-1, 0.0)
        self.unposted_items = 0
        """Items of the batches that are sealed but not known to stand on L1."""
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

    async def reconcile(self) -> None:
        """Compare what was posted with what stands on L1.

        Raises:
            DivergedError: If L1 holds another batch under the id of one of ours.
            ChainUnavailableError: If L1 does not answer.
        """
        store, l1 = self._sequencer.store, self._sequencer.l1
        posted = await store.posted_count()
        standing = await l1.batch_count()
        if standing < posted:
            log.warning("L1 has %d of %d posted batches; the rest is posted again", standing, posted)
            await store.commit([mark_unposted(standing)])
        elif posted:
            await self.compare(posted - 1)
        await self.recount()

    async def compare(self, batch_id: int) -> None:
        """Make sure that L1's batch of this id is the one this sequencer executed.

        Raises:
            DivergedError: If it isn't.
            ChainUnavailableError: If L1 does not answer.
        """
        self._compare(await self._own(batch_id), (await self._sequencer.l1.batches(batch_id, 1))[0])

    async def recount(self) -> None:
        """Read anew what is posted and what is not."""
        store = self._sequencer.store
        self.posted_count = await store.posted_count()
        self.unposted_items = await store.unposted_items()

    async def run(self) -> None:
        """Seal and post for ever; waits and tries again while L1 or the disk refuses."""
        config = self._sequencer.config
        pause_s = config.retry_s
        while True:
            await self._due()
            try:
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
                while self.posted_count < target:
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
            if self.unposted_items or remaining_s == 0:
                return
            try:
                async with asyncio.timeout(remaining_s):
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

    async def _seal_if_due(self) -> None:
        async with self._sequencer.writing:
            if self._remaining_s() == 0:
                self.seal()
                await self._sequencer.commit_head()

    async def _post(self, row: BatchRow) -> None:
        sequencer = self._sequencer
        assert row.blob is not None
        standing = await sequencer.l1.batch_count()
        if standing < row.batch_id:
            # L1 went back below what stood there; those batches are posted again, oldest first.
            await sequencer.store.commit([mark_unposted(standing)])
            await self.recount()
            return
        if standing > row.batch_id:
            posted = (await sequencer.l1.batches(row.batch_id, 1))[0]
        else:
            posted = await sequencer.l1.submit_batch(row.batch_id, row.prev_root, row.blob)
        self._compare(row, posted)
        text = f"Batch {row.batch_id} posted: {row.tx_count} transactions in {row.size_bytes} bytes."
        await sequencer.store.commit(
            [
                mark_posted(row.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
                *insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex()),
            ]
        )
        await self.recount()
        self._progress.set()
        self._progress = asyncio.Event()

    async def _own(self, batch_id: int) -> BatchRow:
        row = await self._sequencer.store.batch(batch_id, with_blob=True)
        if row is None or row.blob is None:
            raise StoreError(f"The database lacks batch {batch_id}.", fix="Move it away to rebuild it from L1.")
        return row

    def _compare(self, row: BatchRow, posted: PostedBatch) -> None:
        if row.blob != posted.blob or row.prev_root != posted.prev_root or row.post_root != posted.post_root:
            raise DivergedError(
                f"L1 holds another batch {row.batch_id} than this sequencer executed.",
                fix="Another sequencer posts to this rollup; stop this one and look at both.",
            )
