"""The L1 connection of a sequencer that misbehaves: it posts other batches than the honest sequencer gives it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from chain.codec import BatchData, decode_batch, is_inbox_body
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.connection import checksum
from chain.l1.protocol import Deployment, InboxMessage, PostedBatch
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.logs import get_logger
from chain.replay import Replayer, ReplayError, replay_l1, rules_of
from chain.signing import address_of
from chain.state import RollupState
from chain.types import MAX_U64
from chain.villains.draft import Draft, inbox_bodies
from chain.villains.kinds import Villain

log = get_logger(__name__)

RICH_DEPOSITS = 3
"""Each of as much nano as 64 bits hold."""


class VillainL1(JsonRpcRollupL1):
    """The rollup's contracts for a sequencer that misbehaves.

    It posts honest batches until there is an account to steal from and what it needs on L1 is there; then a forged
    one; and from then on batches that follow from its lie. To the sequencer that uses it, it shows the honest batches.
    Once it was caught it posts what it is given, which L1 refuses from a sequencer without a bond.

    Args:
        url: The L1's JSON-RPC over HTTP.
        deployment: The contracts.
        operator_key: The sequencer's.
        villain: What it does.
    """

    def __init__(self, url: str, deployment: Deployment, operator_key: bytes, villain: Villain) -> None:
        super().__init__(url, deployment, operator_key)
        self._villain = villain
        self._key = operator_key
        self._honest: dict[int, PostedBatch] = {}
        self._replayer = Replayer(rules_of(deployment))
        self._shadow: RollupState | None = None
        self.lied_at: int | None = None
        """The batch in which it began to misbehave."""
        self._posted_root: bytes | None = None

    async def prepare(self) -> None:
        """Prepare what the villain needs on L1: messages in the inbox, or a great deal of test money.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: If L1 refuses; where the asset isn't test money, nobody gets rich.
        """
        for _ in range(self._villain.needs_messages):
            await self.force_tx(b"\xff")
        if self._villain.needs_riches:
            signer, owner = self._signer(), checksum(address_of(self._key))
            deployment = await self.deployment()
            asset = self.connection.contract("TestUSD", deployment.asset_address)
            units = RICH_DEPOSITS * MAX_U64 * int(await self._call(self._rollup.functions.unitsPerNano()))
            await signer.send(asset.functions.mint(owner, units))
            await signer.send(asset.functions.approve(self._inbox.address, 2**256 - 1))
            for _ in range(RICH_DEPOSITS):
                await signer.send(self._inbox.functions.deposit(owner, MAX_U64 % 2**32, MAX_U64))

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        """As L1 has them, but forged ones as the sequencer handed them over."""
        return [self._honest.get(posted.batch_id, posted) for posted in await super().batches(start, limit)]

    async def submit_batch(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch:
        """Post something else than what is given, if this is the time for it."""
        standing = await self.batch_count()
        if batch_id < standing and batch_id in self._honest:
            return self._honest[batch_id]
        if self.lied_at in self._honest and standing <= self.lied_at:
            return await super().submit_batch(batch_id, prev_root, inbox_hash, blob)
        batch = decode_batch(blob)
        if self._shadow is None:
            if batch_id < standing or not await self._is_time(batch):
                return await super().submit_batch(batch_id, prev_root, inbox_hash, blob)
            self._shadow, self.lied_at = RollupState.from_leaves(self._replayer.state.items()), batch_id
            log.warning("misbehaviour_started", villain=self._villain.name, batch=batch_id, does=self._villain.does)
        if self._villain.stalls:
            raise ChainUnavailableError("This sequencer stalls on purpose.")
        posted = await self._post_forged(self._shadow, batch_id, batch)
        post_root = batch.frames[-1].post_root
        self._honest[batch_id] = replace(
            posted, prev_root=prev_root, post_root=post_root, inbox_hash=inbox_hash, blob=blob
        )
        return self._honest[batch_id]

    async def _is_time(self, batch: BatchData) -> bool:
        """Whether there is an account to steal from, and what the villain needs is there."""
        try:
            async for _ in replay_l1(self, replayer=self._replayer):
                pass
        except ReplayError as error:
            raise ChainRejectedError(
                f"This sequencer lied before it was restarted. {error.message}",
                code="villain_done",
                fix="Start another villain on a new home.",
            ) from error
        state = self._replayer.state
        accounts = [account for number in range(1, state.meta.next_account) if (account := state.account(number))]
        if self._villain.needs_riches:
            return sum(account.balance_nano >= MAX_U64 for account in accounts) >= RICH_DEPOSITS
        message_count = batch.header.inbox_to - state.meta.inbox_cursor
        return bool(accounts) and message_count >= self._villain.needs_messages

    async def _post_forged(self, shadow: RollupState, batch_id: int, batch: BatchData) -> PostedBatch:
        is_first = batch_id == self.lied_at
        cursor = shadow.meta.inbox_cursor
        header, bodies = batch.header, inbox_bodies(cursor, batch.header.inbox_to)
        bodies += [frame.body for frame in batch.frames if not is_inbox_body(frame.body)]
        if self._villain.reshape is not None and (is_first or self._villain.is_lasting):
            header, bodies = self._villain.reshape(header, bodies, cursor)
        messages = await self._read_inbox(cursor, header.inbox_to)
        prev_root, mark = shadow.root(), shadow.mark()
        try:
            draft = Draft(shadow, header, rules_of(await self.deployment()), messages, self._key)
            for body in bodies:
                draft.add(body)
            if self._villain.act is not None and is_first:
                self._villain.act(draft)
            if not draft.frames:
                raise ChainUnavailableError("This sequencer has nothing that it would post.")
            blob = draft.blob()
            if self._villain.deface is not None:
                blob = self._villain.deface(blob)
            inbox_hash = await self._inbox_hash_to(header.inbox_to)
            posted = await super().submit_batch(batch_id, self._posted_root or prev_root, inbox_hash, blob)
        except BaseException:
            shadow.rollback(mark)
            raise
        shadow.settle()
        self._posted_root = draft.frames[-1].post_root
        return posted

    async def _inbox_hash_to(self, inbox_to: int) -> bytes:
        """What L1 wants to see beside a header; anything where that names messages which L1 doesn't have."""
        return await self.inbox_hash(inbox_to) if inbox_to <= await self.inbox_length() else bytes(32)

    async def _read_inbox(self, start: int, end: int) -> dict[int, InboxMessage]:
        messages: dict[int, InboxMessage] = {}
        while start + len(messages) < end:
            page = await self.inbox_messages(start + len(messages), end - start - len(messages))
            if not page:
                break
            messages.update((message.index, message) for message in page)
        return messages
