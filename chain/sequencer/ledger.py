"""What the parts of a sequencer share: its database, its newest and its final state, and L1.

The parts import this module and never the sequencer. A part that changes the head holds ``writing``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.errors import ChainRejectedError, IdlewattError
from chain.l1.protocol import Deployment, RollupL1, Turn
from chain.replay import deployment_id, rules_of
from chain.sequencer.allowances import Allowances
from chain.sequencer.books import Books
from chain.sequencer.clock import L1Clock
from chain.sequencer.collecting import collect_fees
from chain.sequencer.config import SequencerConfig
from chain.sequencer.fees import FeeMeter
from chain.sequencer.final import FinalState
from chain.sequencer.head import Head
from chain.sequencer.posted import PostedState
from chain.sequencer.pruning import Pruner
from chain.sequencer.seed import seed
from chain.sequencer.store import SequencerStore, Statement, TxRow, read_leaf, set_metadata
from chain.state import GENESIS_ROOT, RollupState
from chain.stf import Rules


class SequencerLedger:
    """One rollup's state at one sequencer; ``open`` makes it.

    Args:
        l1: The rollup's contracts.
        config: Limits and intervals.
        deployment: Which rollup this is.
        store: The database.
        final: The state after the last final batch.
        head: The newest state and the open batch.
        monotonic: Seconds that only move forward.
    """

    def __init__(
        self,
        *,
        l1: RollupL1,
        config: SequencerConfig,
        deployment: Deployment,
        store: SequencerStore,
        final: FinalState,
        head: Head,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.l1 = l1
        self.config = config
        self.deployment = deployment
        self.store = store
        self.final = final
        self.posted = PostedState(store)
        """The states after the newest batches on L1, for proofs."""
        self.head = head
        """Read it each time: when a write fails it is replaced by what the disk has."""
        self.allowances = Allowances(config.fees)
        """The redeems that channels have left; read again together with the head."""
        self.books = Books(l1)
        self.fees = FeeMeter(config.fees, config.min_fee_nano, monotonic)
        self._pruner = Pruner(config, monotonic)
        self.clock = L1Clock(l1, monotonic)
        self.writing = asyncio.Lock()
        """Held while the head changes."""
        self.due = asyncio.Event()
        """Set when there may be something to seal or to post."""
        self.leads = False
        """Whether this sequencer may post; while another one leads, it follows what that one posts."""
        self.turn: Turn | None = None
        """Its turn, while it leads; ``None`` where no other sequencer waits for the turn's end."""
        self.wrong_batch: int | None = None
        """The batch on L1 that doesn't verify, while one stands there."""
        self.halted = ""
        """Why the sequencer stopped; empty while it works."""
        self.posted_count = 0
        """One past the newest batch that is known to stand on L1."""
        self.unposted_items = 0
        """Items of the batches that are sealed but not known to stand on L1, and transactions set aside."""

    @classmethod
    async def open(
        cls, l1: RollupL1, db_path: Path, config: SequencerConfig, monotonic: Callable[[], float] = time.monotonic
    ) -> SequencerLedger:
        """Open the database and read the head from it.

        Args:
            l1: The rollup's contracts.
            db_path: The SQLite database; created if it isn't there.
            config: Limits and intervals.
            monotonic: Seconds that only move forward.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            ChainRejectedError: If the rollup or the database is another one's.
            SequencerStoreError: If the database can't be used.
        """
        deployment = await l1.deployment()
        if deployment.genesis_root != GENESIS_ROOT:
            raise ChainRejectedError("This rollup starts from another genesis state.", code="foreign_chain")
        store = await SequencerStore.open(db_path)
        try:
            await _check_deployment(store, deployment_id(deployment))
            if config.snapshot is not None:
                await seed(store, l1, config.snapshot)
            final = await FinalState.load(store)
            head = await _read_head(store, final.count, rules_of(deployment))
            ledger = cls(
                l1=l1, config=config, deployment=deployment, store=store, final=final, head=head, monotonic=monotonic
            )
            await ledger.allowances.load(store, head.state)
            await ledger.books.load(store)
        except BaseException:
            await store.close()
            raise
        return ledger

    async def close(self) -> None:
        """Close the database."""
        await self.store.close()

    @property
    def rules(self) -> Rules:
        """What the state transition needs to know of the deployment."""
        return self.head.rules

    @property
    def accepts(self) -> bool:
        """Whether transactions are taken: while it leads, up to what can still be posted before its turn ends."""
        turn, head = self.turn, self.head
        if not self.leads or turn is None:
            return self.leads
        batch_id = head.open.batch_id if head.open is not None else head.next_batch
        handover_s = min(self.config.handover_s, self.deployment.turn_s / 4)
        return batch_id < turn.end_batch and self.clock.time_s < turn.ends_at_s - handover_s

    @property
    def is_turn_over(self) -> bool:
        """Whether its turn has ended, by time."""
        return self.leads and self.turn is not None and self.clock.time_s >= self.turn.ends_at_s

    @property
    def pending_txs(self) -> int:
        """Transactions and messages acknowledged but not yet posted."""
        return self.unposted_items + (self.head.open.item_count if self.head.open else 0)

    def is_full(self, extra_bytes: int) -> bool:
        """Whether the open batch has no room for a transaction of this length (0: for an inbox message)."""
        batch, config = self.head.open, self.config
        assert batch is not None
        return batch.item_count >= config.max_batch_txs or batch.size_with(extra_bytes) > config.max_batch_bytes

    def seal(self) -> None:
        """Close the open batch, prunes and the fees at its end; the caller holds ``writing`` and commits the head."""
        batch = self.head.open
        assert batch is not None
        owner = self.config.fee_owner or self.l1.sender
        if self.leads:
            self._pruner.prune(self.head, owner, self.clock.time_s)
        if self.leads and owner is not None:
            collect_fees(self.head, owner, self.config.collect_fees_from_nano, self.clock.time_s)
        self.head.seal()
        self.unposted_items += batch.item_count
        self.due.set()

    def execute(self, raw: bytes) -> TxRow:
        """Execute one transaction on the head; the caller holds ``writing`` and commits.

        Raises:
            TxRefusedError: If the transition refuses it.
            ChainRejectedError: If its channel has no redeem left for it.
        """
        left = self.allowances.after(raw, self.head.state, self.clock.time_s, self.fees.least_redeem_nano)
        self._make_room(raw)
        pool_nano = self.head.state.meta.fee_pool_nano
        row = self.head.execute(raw, self.clock.time_s)
        if left is not None:
            self.allowances.set(*left)
        self.books.earned_nano += max(0, self.head.state.meta.fee_pool_nano - pool_nano)
        self.fees.took(len(raw))
        return row

    def execute_again(self, raw: bytes) -> TxRow:
        """Execute one that was taken before, and has counted; else as `execute`.

        Raises:
            TxRefusedError: If the transition refuses it.
        """
        self._make_room(raw)
        return self.head.execute(raw, self.clock.time_s)

    def _make_room(self, raw: bytes) -> None:
        if self.head.open is not None and self.is_full(len(raw)):
            self.seal()

    async def commit_head(self, further: Sequence[Statement] = ()) -> None:
        """Make durable what the head collected, and ``further`` with it; the caller holds ``writing``.

        Raises:
            SequencerStoreError: If it could not be; the head is then as the disk has it.
        """
        try:
            await self.store.commit([*self.head.drain(), *self.allowances.drain(), *self.books.drain(), *further])
        except IdlewattError:
            await self.load_head()
            await self.recount()
            raise

    async def load_head(self) -> None:
        """Read the head from the database again; the caller holds ``writing``.

        Raises:
            SequencerStoreError: If it can't be read.
        """
        head = await _read_head(self.store, self.final.count, self.rules)
        await self.allowances.load(self.store, head.state)
        await self.books.forget_unwritten(self.store)
        self.head = head

    async def recount(self) -> None:
        """Count again what is posted and what is not.

        Raises:
            SequencerStoreError: If the database can't be read.
        """
        self.posted_count = await self.store.posted_count()
        self.unposted_items = await self.store.unposted_items() + await self.store.set_aside_count()


async def _check_deployment(store: SequencerStore, identity: bytes) -> None:
    known = await store.metadata("deployment")
    if known is None:
        await store.commit([set_metadata("deployment", identity)])
    elif known != identity:
        raise ChainRejectedError(
            "The sequencer's database belongs to another deployment of the rollup.",
            code="foreign_chain",
            fix="Use the home that this chain was started with, or move the database away.",
        )


async def _read_head(store: SequencerStore, final_count: int, rules: Rules) -> Head:
    """The final state, with every later batch on top of it."""
    leaves = dict(await store.final_leaves())
    for key, data in await store.batch_leaves(final_count, 2**62):
        if data is None:
            leaves.pop(key, None)
        else:
            leaves[key] = data
    state = RollupState.from_leaves((key, read_leaf(data)) for key, data in leaves.items())
    open_row = await store.open_batch()
    next_batch = open_row.batch_id if open_row else await store.batch_count()
    head = Head(
        rules,
        state,
        next_sequence=await store.next_sequence(),
        next_batch=next_batch,
        inbox_hash=await store.inbox_hash(),
    )
    if open_row is not None:
        batch_id = open_row.batch_id
        head.resume(open_row, await store.batch_txs(batch_id), await store.frame_roots(batch_id))
    return head
