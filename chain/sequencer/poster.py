"""Sealing and posting: when a batch is due, and how it is posted to L1 exactly once."""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import asdict

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode
from chain.logs import get_logger
from chain.retry import retry
from chain.sequencer import refusals
from chain.sequencer.clock import MAX_BACK_S
from chain.sequencer.leadership import Leadership
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.realign import Realigner, is_same
from chain.sequencer.store import BatchRow, SequencerStoreError, insert_event, mark_posted

log = get_logger(__name__)

_OUTDATED: frozenset[ErrorCode] = frozenset(
    {"inbox_ignored", "inbox_beyond_end", "inbox_backwards", "l2_time_backwards", "l2_time_behind", "wrong_inbox_hash"}
)
"""L1's refusals of a sealed batch that it will never take: build it again, with the present inbox and time."""

_MISPLACED: frozenset[ErrorCode] = frozenset({"wrong_batch_id", "wrong_previous_root", "batch_taken"})
"""L1's refusals that say that other batches stand there than we thought."""


class Poster:
    """Turns open batches into batches on L1, in order.

    Args:
        ledger: Whose batches.
        realigner: Agrees with L1 where that shows other batches.
        leadership: Knows whether this sequencer may post.
    """

    def __init__(self, ledger: SequencerLedger, realigner: Realigner, leadership: Leadership) -> None:
        self._ledger = ledger
        self._realigner = realigner
        self._leadership = leadership
        self._progress = asyncio.Event()
        self._flush_below = 0
        self.must_compare = False
        """Whether the batches are to be compared with those on L1 before anything else is posted."""
        self._is_reorg = False
        self.is_posting = False
        """Whether a batch is on its way, which L1 may show before this sequencer knows that it stands."""
        self._filling: tuple[int, float] = (-1, 0.0)

    def wake_all(self) -> None:
        """Wake every task that waits for progress, because there may be no more of it."""
        self._ledger.due.set()
        self._progress.set()

    def compare_again(self, *, is_reorg: bool) -> None:
        """Compare with L1 before anything else is posted, since it shows other batches or another history.

        Args:
            is_reorg: L1's own history changed.
        """
        self.must_compare = True
        self._is_reorg |= is_reorg
        self._ledger.due.set()

    async def look_at_leader(self) -> None:
        """See whether this sequencer may post, and compare with L1 where that has changed.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        if await self._leadership.look():
            self.compare_again(is_reorg=False)

    async def run(self) -> None:
        """Seal and post until cancelled; waits and tries again while L1 or the disk refuses."""
        config = self._ledger.config
        while True:
            await retry(
                self._post_when_due,
                on=(ChainUnavailableError, ChainRejectedError, SequencerStoreError),
                wait_s=config.retry_s,
                max_wait_s=config.max_retry_s,
                on_failure=lambda error: log.warning("batch_posting_failed", error=error.line()),
            )

    async def _post_when_due(self) -> None:
        await self._due()
        await self._realign_if_due()
        await self._seal_if_due()
        while (row := await self._ledger.store.first_unposted()) is not None:
            await self._post(row)

    async def flush(self, timeout_s: float) -> None:
        """Post everything acknowledged so far, and wait for it.

        Raises:
            ChainUnavailableError: If that took longer than ``timeout_s``.
            ChainRejectedError: If the sequencer stopped meanwhile.
        """
        head = self._ledger.head
        target = head.next_batch + (1 if head.open is not None else 0)
        self._flush_below = max(self._flush_below, target)
        self._ledger.due.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._ledger.posted_count < target and self._ledger.pending_txs:
                    if self._ledger.halted:
                        raise refusals.halted(self._ledger.halted)
                    await self._progress.wait()
        except TimeoutError:
            raise ChainUnavailableError(
                "L1 did not take the batch in time.", code="l1_slow", fix="Try again; nothing is lost."
            ) from None

    async def _due(self) -> None:
        while True:
            self._ledger.due.clear()
            remaining_s = self._remaining_s()
            is_due = self._ledger.leads and (self._ledger.unposted_items or remaining_s == 0)
            if is_due or self.must_compare:
                return
            try:
                async with asyncio.timeout(remaining_s if self._ledger.leads else None):
                    await self._ledger.due.wait()
            except TimeoutError:
                return

    def _remaining_s(self) -> float | None:
        """How long the open batch may still fill; ``None`` where none is open."""
        batch = self._ledger.head.open
        if batch is None:
            return None
        now = time.monotonic()
        if self._filling[0] != batch.batch_id:
            self._filling = (batch.batch_id, now)
        if batch.batch_id < self._flush_below:
            return 0
        return max(0.0, self._filling[1] + self._ledger.config.batch_interval_s - now)

    async def _realign_if_due(self) -> None:
        if self.must_compare:
            is_reorg = self._is_reorg
            self.must_compare = self._is_reorg = False
            await self._realign(is_reorg=is_reorg)
            await self.look_at_leader()
            self._made_progress()

    async def _realign(self, *, is_reorg: bool = False, must_rebuild: bool = False) -> None:
        """Agree with L1, and come back to it where L1 or the disk fails halfway, with transactions set aside."""
        try:
            await self._realigner.realign(is_reorg=is_reorg, must_rebuild=must_rebuild)
        except BaseException:
            self.compare_again(is_reorg=is_reorg)
            raise

    async def _seal_if_due(self) -> None:
        async with self._ledger.writing:
            if self._remaining_s() == 0:
                self._ledger.seal()
                await self._ledger.commit_head()

    async def _post(self, row: BatchRow) -> None:
        ledger = self._ledger
        assert row.blob is not None
        if await ledger.l1.batch_count() != row.batch_id:
            await self._realign()
            self._made_progress()
            return
        self.is_posting = True
        try:
            posted = await ledger.l1.submit_batch(row.batch_id, row.prev_root, row.inbox_hash, row.blob)
            if not is_same(row, posted):
                raise ChainUnavailableError(
                    f"The L1 contradicts itself: it took another batch {row.batch_id} than it was given.",
                    code="chain_bad_answer",
                    fix="Use an L1 node that you trust.",
                )
            noun = "transaction" if row.tx_count == 1 else "transactions"
            text = f"Batch {row.batch_id} posted: {row.tx_count} {noun} in {row.size_bytes} bytes."
            await ledger.store.commit(
                [
                    mark_posted(row.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
                    *insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex()),
                    *ledger.books.drain(),
                ]
            )
            await ledger.recount()
            log.info("batch_posted", batch=row.batch_id, txs=row.tx_count, bytes=row.size_bytes, l1_tx=posted.l1_tx)
            log.info("operator_books", **asdict(ledger.books.view(ledger.config.fees)))
        except ChainRejectedError as error:
            is_outdated = error.code in _OUTDATED or await self._is_from_the_future(row, error.code)
            if is_outdated or error.code in _MISPLACED:
                await self._realign(must_rebuild=is_outdated)
            await self.look_at_leader()
            raise
        finally:
            self.is_posting = False
        self._made_progress()

    async def _is_from_the_future(self, row: BatchRow, refusal: ErrorCode) -> bool:
        """Whether L1 won't take a batch for long, since its clock was wrong when that was opened.

        One that is only a little early is sent again.
        """
        if refusal != "l2_time_ahead":
            return False
        await self._ledger.clock.look()
        return row.l2_time_s > self._ledger.clock.time_s + MAX_BACK_S

    def _made_progress(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()
