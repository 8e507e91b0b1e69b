"""Bringing the sequencer into agreement with an L1 that shows something else than it remembers.

L1 wins: batches that stand there are verified and adopted, no matter which sequencer posted them. What this
sequencer had executed in their place is set aside on disk and executed again on top. Until that is done nobody reads
or changes the head, because it lacks acknowledged transactions. A batch that doesn't verify is never built on: the
sequencer waits until it is proven wrong.
"""

from __future__ import annotations

import asyncio

from chain.codec import is_inbox_body
from chain.errors import ChainUnavailableError, IdlewattError
from chain.l1.protocol import PostedBatch
from chain.logs import get_logger
from chain.replay import ReplayedBatch, Replayer, ReplayError, replay_l1
from chain.rules.outcome import Code
from chain.sequencer import refusals
from chain.sequencer.head import TxRefusedError
from chain.sequencer.inbox import InboxExecutor
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.store import (
    BatchRow,
    SequencerStoreError,
    Statement,
    drop_set_aside,
    insert_event,
    mark_posted,
    mark_unposted,
    set_aside_from,
)
from chain.tx_format import TxType
from chain.txs import TX_SIZES, tx_id

log = get_logger(__name__)

PAGE_MESSAGES = 256
GROUP_TXS = 128
"""Transactions set aside that are executed again in one durable commit."""


class DivergedError(IdlewattError):
    """L1 contradicts what was final already."""

    default_code = "diverged"


class Realigner:
    """Compares this sequencer's batches with those on L1, and follows L1 where they differ.

    Args:
        ledger: Whose batches.
        inbox: Executes the inbox; its messages come before transactions that are executed again.
    """

    def __init__(self, ledger: SequencerLedger, inbox: InboxExecutor) -> None:
        self._ledger = ledger
        self._inbox = inbox
        self._settled = asyncio.Event()

    @property
    def is_settled(self) -> bool:
        """Whether the head holds every acknowledged transaction that may be in it while this sequencer leads."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Return once ``is_settled``.

        Raises:
            ChainUnavailableError: If it takes longer than ``SequencerConfig.settle_timeout_s``.
        """
        try:
            async with asyncio.timeout(self._ledger.config.settle_timeout_s):
                await self._settled.wait()
        except TimeoutError:
            raise refusals.realigning() from None

    async def realign(self, *, is_reorg: bool = False, must_rebuild: bool = False) -> None:
        """Agree with L1.

        Args:
            is_reorg: L1's own history changed, so the inbox may have too.
            must_rebuild: L1 can't take the batches that were sealed but don't stand; build them again.

        Raises:
            DivergedError: If L1 holds another batch where a final one was.
            ChainUnavailableError: If L1 does not answer, or is behind what was final already.
            SequencerStoreError: If the disk refuses.
        """
        ledger = self._ledger
        async with ledger.writing:
            standing = await ledger.l1.batch_count()
            common = await self._agree(standing)
            is_cut = standing > common or must_rebuild
            if is_cut or (is_reorg and not await self._knows_inbox(common)):
                await self._rewind(common)
            if standing > common:
                await self._adopt(common)
            else:
                self._ledger.wrong_batch = None
            await ledger.recount()
            if ledger.leads:
                await self._restore()
            self._settled.set()

    async def _restore(self) -> None:
        """Execute again what was set aside: the inbox first, which has waited too. The caller holds ``writing``."""
        ledger = self._ledger
        while waiting := await ledger.store.set_aside(GROUP_TXS):
            await self._inbox.execute_locked()
            change: list[Statement] = []
            for position, raw in waiting:
                change += await self._execute_again(raw)
                change.append(drop_set_aside(position))
            await ledger.commit_head(change)
            await ledger.recount()

    async def _agree(self, standing: int) -> int:
        """How many batches L1 and the database share; what is known of where those stand is brought up to date."""
        store, final = self._ledger.store, self._ledger.final.count
        if standing < final:
            raise ChainUnavailableError(
                f"This L1 shows {standing} batches, but {final} were final already.",
                code="l1_behind",
                fix="Wait until it caught up, or use an L1 node that follows the chain.",
            )
        common = min(standing, await store.sealed_count())
        change: list[Statement] = []
        agreed = common
        while agreed > final:
            ours = await self._own(agreed - 1)
            posted = (await self._ledger.l1.batches(agreed - 1, 1))[0]
            if not is_same(ours, posted):
                # This batch differs, so all later ones do too.
                common, change = agreed - 1, []
            elif (ours.l1_tx, ours.l1_block, ours.submitted_at_s) == _place(posted):
                break
            else:
                change.append(mark_posted(posted.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s))
            agreed -= 1
        if common == final > 0:
            await self._check_final(final - 1)
        await store.commit([mark_unposted(common), *change])
        return common

    async def _check_final(self, batch_id: int) -> None:
        posted = (await self._ledger.l1.batches(batch_id, 1))[0]
        if not is_same(await self._own(batch_id), posted):
            raise DivergedError(
                f"L1 holds another batch {batch_id} than the one that was final.",
                fix="Move the sequencer's database away to rebuild it from this L1.",
            )

    async def _own(self, batch_id: int) -> BatchRow:
        row = await self._ledger.store.batch(batch_id, with_blob=True)
        if row is None or row.blob is None:
            raise SequencerStoreError(
                f"The database lacks batch {batch_id}.", fix="Move it away to rebuild it from L1."
            )
        return row

    async def _knows_inbox(self, from_batch: int) -> bool:
        """Whether L1's inbox still says what batches from this one on executed."""
        known = await self._ledger.store.message_hashes(from_batch)
        for start in range(0, len(known), PAGE_MESSAGES):
            page = known[start : start + PAGE_MESSAGES]
            messages = await self._ledger.l1.inbox_messages(page[0][0], len(page))
            if [(message.index, message.content_hash()) for message in messages] != page:
                return False
        return True

    async def _rewind(self, from_batch: int) -> None:
        """Go back to the state before a batch, keeping the transactions from there on for later."""
        ledger = self._ledger
        count = await ledger.store.tx_count(from_batch)
        change = set_aside_from(from_batch)
        if count:
            text = f"L1 has another history from batch {from_batch} on: {count} transactions are executed again on it."
            change += insert_event("reorder", ledger.clock.time_s, text, "")
            log.warning("batches_replaced_on_l1", from_batch=from_batch, txs_to_execute_again=count)
        self._settled.clear()
        await ledger.store.commit(change)
        await ledger.load_head()
        self._inbox.look_again()

    async def _adopt(self, from_batch: int) -> None:
        """Execute every batch that L1 has from this one on, verifying each before building on it."""
        ledger = self._ledger
        replayer = Replayer(ledger.rules, state=ledger.head.state, next_batch=from_batch)
        try:
            async for verified in replay_l1(ledger.l1, replayer=replayer):
                ledger.head.state.rollback(0)  # it was executed to verify it, and is executed again to record it
                self._record(verified)
                posted = verified.posted
                text = f"Batch {posted.batch_id} adopted from L1."
                await ledger.commit_head(
                    [
                        mark_posted(posted.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
                        *insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex()),
                    ]
                )
            self._ledger.wrong_batch = None
        except ReplayError as error:
            if self._ledger.wrong_batch != error.batch_id:
                log.error("wrong_batch_found_on_l1", batch=error.batch_id, error=error.line())
                text = f"Batch {error.batch_id} on L1 is wrong; nothing is built on it. {error.message}"
                await ledger.store.commit(insert_event("wrong", ledger.clock.time_s, text, ""))
            self._ledger.wrong_batch = error.batch_id

    def _record(self, verified: ReplayedBatch) -> None:
        head, at_s = self._ledger.head, verified.batch.header.l2_time_s
        for message in verified.messages:
            head.execute_message(message, at_s)
        for frame in verified.batch.frames:
            offset = 0
            while not is_inbox_body(frame.body) and offset < len(frame.body):
                size = TX_SIZES[frame.body[offset]]
                head.execute(frame.body[offset : offset + size], at_s)
                offset += size
        assert head.state.root() == verified.posted.post_root
        head.seal(verified.posted.blob)

    async def _execute_again(self, raw: bytes) -> list[Statement]:
        ledger = self._ledger
        if raw[0] == TxType.CREATE_ACCOUNT and ledger.head.account_number(raw[1:]) is not None:
            return []  # another sequencer's batch created this account already
        try:
            ledger.execute_again(raw)
        except TxRefusedError as error:
            if await ledger.store.tx(tx_id(raw)) is not None:
                return []  # L1's history has it too, or its sender handed it in again
            l2_tx = "0x" + tx_id(raw).hex()
            log.error("acknowledged_tx_dropped", l2_tx=l2_tx, reason=error.tx_code.name.lower())
            text = f"A transaction doesn't fit L1's history any more ({_told(error.tx_code)})."
            return insert_event("dropped", ledger.clock.time_s, text, l2_tx)
        return []


def _told(code: Code) -> str:
    if code is Code.BAD_SIGNATURE:
        return "its nonce was used, or its numbers name somebody else by now"
    return code.name.lower().replace("_", " ")


def _place(posted: PostedBatch) -> tuple[bytes, int, int]:
    return posted.l1_tx, posted.l1_block, posted.submitted_at_s


def is_same(ours: BatchRow, posted: PostedBatch) -> bool:
    """Whether L1 has the batch that this sequencer executed."""
    return (ours.blob, ours.prev_root, ours.post_root, ours.inbox_hash) == (
        posted.blob,
        posted.prev_root,
        posted.post_root,
        posted.inbox_hash,
    )
