"""The sequencer service: one writer that executes and persists, one loop that posts, one that follows L1.

A transaction is acknowledged only when its effects are on disk. What is on disk is posted exactly once: a batch is
sealed with its bytes before it is sent, and after a crash L1 is asked whether it already stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from chain.errors import ChainRejectedError, IdlewattError
from chain.fees.quotas import ClientQuotas
from chain.l1.protocol import Deployment, RollupL1
from chain.logs import get_logger
from chain.sequencer import refusals
from chain.sequencer.config import SequencerConfig
from chain.sequencer.finality import Finality
from chain.sequencer.follower import L1Follower
from chain.sequencer.head import Head, TxRefusedError
from chain.sequencer.inbox import InboxExecutor
from chain.sequencer.leadership import Leadership
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.operator import Operator
from chain.sequencer.poster import Poster
from chain.sequencer.queries import Queries, soft_receipt
from chain.sequencer.realign import Realigner
from chain.sequencer.store import TxRow
from chain.stf import Code
from chain.tx_format import TxType
from chain.txs import CollectFees, CreateAccount, Prune, TxFormatError, decode, tx_id
from chain.views import SoftReceipt

log = get_logger(__name__)

MAX_GROUP = 128
"""Transactions that share one durable commit."""

_OWN = (CollectFees, Prune)
"""What this sequencer says itself and takes from nobody: they are signed by nobody."""
_Waiting = tuple[bytes, asyncio.Future[TxRow]]


class Sequencer:
    """The rollup's sequencer on one L1.

    Use it as an async context manager, or call ``start`` and ``close``. It owns every task it starts.

    Args:
        l1: The rollup's contracts; the account behind it is bonded and pays the gas.
        db_path: Its SQLite database.
        config: Limits and intervals.
        monotonic: Seconds that only move forward; L2 time follows it while L1 is away.
    """

    def __init__(
        self,
        l1: RollupL1,
        db_path: Path,
        *,
        config: SequencerConfig | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or SequencerConfig()
        self.l1 = l1
        """The rollup's contracts."""
        self._db_path = db_path
        self._monotonic = monotonic
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(self.config.max_waiting_txs)
        self._executing: dict[bytes, asyncio.Future[TxRow]] = {}
        self._creations = ClientQuotas(self.config.accounts_per_minute)
        self._submissions = ClientQuotas(self.config.submissions_per_minute)
        self._main: asyncio.Task[None] | None = None
        self.ledger: SequencerLedger
        self.queries: Queries
        self.realigner: Realigner
        self.poster: Poster
        self.follower: L1Follower
        self.operator: Operator

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the database, agree with L1 on what stands, and start to work.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            ChainRejectedError: If the database belongs to another chain, or L1 holds batches that contradict it.
            SequencerStoreError: If the database can't be used.
        """
        ledger = await SequencerLedger.open(self.l1, self._db_path, self.config, self._monotonic)
        inbox, finality = InboxExecutor(ledger), Finality(ledger)
        leadership = Leadership(ledger, inbox)
        self.ledger = ledger
        self.queries = Queries(ledger)
        self.realigner = Realigner(ledger, inbox)
        self.poster = Poster(ledger, self.realigner, leadership)
        self.follower = L1Follower(ledger, inbox, leadership, finality, self.poster)
        self.operator = Operator(ledger, finality)
        try:
            await ledger.clock.look()
            await self.poster.look_at_leader()
            await self.realigner.realign(is_reorg=True)
            await self.follower.look()
        except BaseException:
            await ledger.close()
            raise
        self._main = asyncio.create_task(self._work(), name="sequencer")

    async def close(self) -> None:
        """Stop every task and close the database. What was acknowledged stays and is posted after the next start."""
        if self._main is None:
            return
        self._main.cancel()
        await asyncio.gather(self._main, return_exceptions=True)
        self._main = None
        self._halt("it was closed.")
        await self.ledger.close()

    @property
    def deployment(self) -> Deployment:
        """Which rollup this is."""
        return self.ledger.deployment

    @property
    def head(self) -> Head:
        """The newest state; replaced by what the disk has when a write fails."""
        return self.ledger.head

    @property
    def leads(self) -> bool:
        """Whether it may post; while another sequencer leads, this one follows what that one posts."""
        return self.ledger.leads

    @property
    def halted(self) -> str:
        """Why the sequencer stopped; empty while it works."""
        return self.ledger.halted

    def poke(self) -> None:
        """Look at L1 at once instead of at the next poll; call it after an L1 transaction of one's own."""
        self.follower.poke()

    async def submit(self, raw: bytes, client: str | None = None) -> SoftReceipt:
        """Execute a transaction and promise its inclusion; one that was taken before gets the same receipt again.

        Args:
            raw: The transaction.
            client: Who hands it in, as quotas tell clients apart; ``None`` for this machine itself.

        Raises:
            ChainRejectedError: If it is malformed, against the rules, pays too little, or comes too often, or the
                sequencer is busy or halted.
            ChainUnavailableError: If the sequencer is busy agreeing with an L1 of another history.
        """
        # Executed before looking for an earlier execution: the same bytes may end a second unstaking.
        try:
            return soft_receipt(await self._executed_once(raw, client))
        except ChainRejectedError:
            known = await self.ledger.store.tx(tx_id(raw))
            if known is None:
                raise
            return soft_receipt(known)

    async def _executed_once(self, raw: bytes, client: str | None) -> TxRow:
        self._check_running()
        if not self.ledger.accepts:
            raise refusals.not_leading()
        if client is not None:
            self._take(self._submissions, "transactions were handed in", client)
        self._check_policy(raw)
        await self.realigner.settled()
        if self.ledger.pending_txs >= self.config.max_pending_txs:
            raise refusals.busy()
        future = self._executing.get(raw)
        if future is None:
            self._check_creation(raw, client)
            future = asyncio.get_running_loop().create_future()
            try:
                self._waiting.put_nowait((raw, future))
            except asyncio.QueueFull:
                raise refusals.busy() from None
            self._executing[raw] = future
            future.add_done_callback(lambda done: self._executed(raw, done))
        # Shielded: if this caller is cancelled, others that submitted the same transaction still get the answer.
        return await asyncio.shield(future)

    def _executed(self, raw: bytes, done: asyncio.Future[TxRow]) -> None:
        del self._executing[raw]
        if not done.cancelled():
            done.exception()  # retrieved, because every caller may be gone

    async def create_account(self, owner: bytes, client: str | None = None) -> int:
        """The account number of an owner, created where there is none.

        Args:
            owner: Its 20 bytes.
            client: Who asks, as for `submit`.

        Raises:
            ChainRejectedError: If too many were created, or the sequencer is busy or halted.
            ChainUnavailableError: If the sequencer is busy agreeing with an L1 of another history.
        """
        await self.realigner.settled()
        number = self.head.account_number(owner)
        if number is None:
            try:
                await self.submit(CreateAccount(owner).encode(), client)
            except ChainRejectedError as error:
                if error.code != "account_exists":
                    raise
            number = self.head.account_number(owner)
        assert number is not None
        return number

    async def flush(self, *, timeout_s: float = 30.0) -> None:
        """Seal the open batch now, and return when everything acknowledged before stands on L1.

        Raises:
            ChainUnavailableError: If L1 took longer than ``timeout_s``, or the sequencer is busy agreeing with it.
        """
        self._check_running()
        await self.realigner.settled()
        await self.poster.flush(timeout_s)

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(), name="sequencer-writer")
                tasks.create_task(self.follower.run(), name="sequencer-follower")
                tasks.create_task(self.poster.run(), name="sequencer-poster")
                if self.config.operate:
                    tasks.create_task(self.operator.run(), name="sequencer-operator")
        except BaseExceptionGroup as group:
            reason = _reason(group)
            log.exception("sequencer_stopped", reason=reason)
            self._halt(reason)

    def _halt(self, reason: str) -> None:
        self.ledger.halted = self.ledger.halted or reason
        while not self._waiting.empty():
            _, future = self._waiting.get_nowait()
            if not future.done():
                future.set_exception(refusals.halted(self.ledger.halted))
        self.poster.wake_all()

    def _check_running(self) -> None:
        if self.ledger.halted:
            raise refusals.halted(self.ledger.halted)

    def _check_policy(self, raw: bytes) -> None:
        try:
            tx, _ = decode(raw)
        except TxFormatError as error:
            raise refusals.refusal(Code.MALFORMED) from error
        if isinstance(tx, _OWN):
            raise refusals.refusal(Code.UNKNOWN_TYPE)
        self.ledger.fees.check(tx)

    async def _write(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < MAX_GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            try:
                async with self.ledger.writing:
                    results = await self._execute_group(group)
            except BaseException:
                _answer(group, [refusals.halted("it was closed.")] * len(group))
                raise
            _answer(group, results)
            self.ledger.due.set()

    async def _execute_group(self, group: list[_Waiting]) -> list[TxRow | IdlewattError]:
        if not self.realigner.is_settled:  # a realignment failed after these were accepted
            return [refusals.realigning()] * len(group)
        results = self._execute(group)
        try:
            await self.ledger.commit_head()
        except IdlewattError as error:
            log.error("txs_not_stored", txs=len(group), error=error.line())
            return [error] * len(group)
        return results

    def _execute(self, group: list[_Waiting]) -> list[TxRow | IdlewattError]:
        results: list[TxRow | IdlewattError] = []
        for raw, _ in group:
            try:
                if self._exists(raw):
                    raise refusals.account_exists()
                results.append(self.ledger.execute(raw))
            except TxRefusedError as error:
                results.append(refusals.refusal(error.tx_code))
            except ChainRejectedError as error:
                results.append(error)
        return results

    def _exists(self, raw: bytes) -> bool:
        """Whether a transaction would create an account for somebody who has one."""
        return raw[0] == TxType.CREATE_ACCOUNT and self.head.account_number(raw[1:]) is not None

    def _check_creation(self, raw: bytes, client: str | None) -> None:
        if raw[0] != TxType.CREATE_ACCOUNT:
            return
        if self._exists(raw):
            raise refusals.account_exists()
        self._take(self._creations, "accounts were created", client)

    def _take(self, quotas: ClientQuotas, what: str, client: str | None) -> None:
        wait_s = quotas.take(client, self._monotonic())
        if wait_s > 0:
            raise refusals.too_often(what, wait_s)


def _answer(group: list[_Waiting], results: list[TxRow | IdlewattError] | list[ChainRejectedError]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, TxRow):
            future.set_result(result)
        else:
            future.set_exception(result)


def _reason(group: BaseExceptionGroup[BaseException]) -> str:
    error = group.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.line() if isinstance(error, IdlewattError) else f"an internal error ({type(error).__name__})."
