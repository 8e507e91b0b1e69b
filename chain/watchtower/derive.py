"""L2 derived from L1's data alone: what a watchtower re-executes, and what proves a wrong frame."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from chain.codec import MAX_FRAME_ITEMS, BatchData, BatchFormatError, decode_batch, decode_inbox_body, is_inbox_body
from chain.errors import ChainUnavailableError
from chain.l1.protocol import Deployment, InboxMessage, PostedBatch, RollupL1
from chain.replay import PAGE_BATCHES, PAGE_MESSAGES, ReplayedBatch, Replayer, ReplayError, rules_of
from chain.state import GENESIS_ROOT
from chain.stf import Code, execute_frame
from chain.witness import build_witness, encode_messages, named_messages


class InconsistentL1Error(ChainUnavailableError):
    """L1 answered two questions so that both can't be true; it was reorganized meanwhile, or its node lies."""

    default_code = "chain_bad_answer"


class WrongBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that doesn't follow from the state before it, with what proves it."""

    posted: PostedBatch
    batch: BatchData
    frame: int
    """The first wrong one."""
    code: Code
    messages: bytes
    witness: bytes


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What came of following L1 for a page of batches."""

    verified: tuple[ReplayedBatch, ...]
    wrong: WrongBatch | None = None


class _Verified(msgspec.Struct, frozen=True):
    """A batch that was found right: where it stands, and how to undo it."""

    l1_block: int
    block_hash: bytes
    mark: int | None
    """Where the state's journal stood before it; ``None`` where that was forgotten."""


class Deriver:
    """The state that L1's batches and inbox lead to, one page of batches at a time.

    Args:
        l1: Where everything comes from.
        deployment: The rollup on it.
        max_undo_writes: Leaf writes that can be undone; beyond them a reorg is answered by deriving everything again.
        start: The state to begin with, as a snapshot gave it; the genesis state if not given.
    """

    def __init__(
        self,
        l1: RollupL1,
        deployment: Deployment,
        *,
        max_undo_writes: int = 200_000,
        start: Replayer | None = None,
    ) -> None:
        self._l1 = l1
        self._max_undo_writes = max_undo_writes
        self._rules = rules_of(deployment)
        if deployment.genesis_root != GENESIS_ROOT:
            raise ReplayError("This rollup starts from another genesis state than this program's.", batch_id=0)
        self._replayer = start or Replayer(self._rules)
        self._base = self._replayer.next_batch
        """How many batches came with the state that this began with."""
        self._verified: list[_Verified] = []

    @property
    def verified(self) -> int:
        """How many batches were found right, those before a snapshot among them."""
        return self._base + len(self._verified)

    @property
    def tip_block(self) -> int | None:
        """The L1 block of the newest batch found right."""
        return self._verified[-1].l1_block if self._verified else None

    @property
    def tip_hash(self) -> bytes | None:
        """That block's hash, as it was when the batch was read."""
        return self._verified[-1].block_hash if self._verified else None

    @property
    def root(self) -> bytes:
        """The state root after the newest batch found right."""
        return self._replayer.state.root()

    async def follow(self, head_block: int) -> Findings:
        """Read the next page of batches up to an L1 block, and re-execute them up to the first wrong one.

        Raises:
            InconsistentL1Error: If L1 changed meanwhile, or contradicts itself; what was verified stands.
            ChainUnavailableError: If L1 does not answer.
        """
        head_hash = await self._hash(head_block)
        page = await self._l1.batches(self.verified, PAGE_BATCHES)
        page = [posted for posted in page if posted.l1_block <= head_block]
        messages = await self._messages(page)
        hashes = {posted.l1_block: await self._hash(posted.l1_block) for posted in page}
        if await self._hash(head_block) != head_hash:
            raise InconsistentL1Error("The L1 was reorganized while it was read.")
        verified: list[ReplayedBatch] = []
        for posted in page:
            mark = self._replayer.state.mark()
            try:
                # Off the loop: a full batch takes a tenth of a second.
                replayed = await asyncio.to_thread(self._replayer.advance, posted)
            except ReplayError as error:
                named = await self._named(posted, error, messages)
                wrong = await asyncio.to_thread(self._wrong, posted, error, messages | named)
                return Findings(verified=tuple(verified), wrong=wrong)
            self._verified.append(_Verified(posted.l1_block, hashes[posted.l1_block], mark))
            verified.append(replayed)
            if self._replayer.state.mark() > self._max_undo_writes:
                self._replayer.state.settle()
                self._verified = [_Verified(one.l1_block, one.block_hash, None) for one in self._verified]
        return Findings(verified=tuple(verified))

    async def rewind(self, batch_count: int) -> int:
        """Go back to the newest batch that L1 still has where it was; returns how many are left.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        if batch_count < self._base:
            # What was final when this began is gone: L1 is another one now.
            return self._start_over()
        # If a block is still there, all blocks before it are too.
        low, high = self._base, min(self.verified, batch_count)
        while low < high:
            middle = (low + high + 1) // 2
            one = self._verified[middle - 1 - self._base]
            if await self._l1.block_hash(one.l1_block) == one.block_hash:
                low = middle
            else:
                high = middle - 1
        if low == self.verified:
            return low
        mark = self._verified[low - self._base].mark
        if mark is None:
            return self._start_over()
        self._replayer.state.rollback(mark)
        self._replayer.next_batch = low
        del self._verified[low - self._base :]
        return self.verified

    def _start_over(self) -> int:
        self._replayer, self._base, self._verified = Replayer(self._rules), 0, []
        return 0

    async def _hash(self, number: int) -> bytes:
        found = await self._l1.block_hash(number)
        if found is None:
            raise InconsistentL1Error(f"The L1 lacks its block {number}.")
        return found

    async def _messages(self, page: Sequence[PostedBatch]) -> dict[int, InboxMessage]:
        """The inbox messages that a page of batches executes, made known to the replayer."""
        following = self._replayer.state.meta.inbox_cursor
        end = max((_inbox_to(posted) for posted in page), default=0)
        messages: dict[int, InboxMessage] = {}
        while following < end:
            found = list(await self._l1.inbox_messages(following, min(PAGE_MESSAGES, end - following)))
            if not found:
                raise InconsistentL1Error("The L1 has a batch that executes messages it doesn't have.")
            messages.update((message.index, message) for message in found)
            following += len(found)
        self._replayer.add_messages(list(messages.values()))
        return messages

    async def _named(
        self, posted: PostedBatch, error: ReplayError, known: dict[int, InboxMessage]
    ) -> dict[int, InboxMessage]:
        """The inbox messages that a wrong frame names, which may be any: the contract wants to see them all."""
        batch = decode_batch(posted.blob)
        body = batch.frames[error.frame].body if error.frame is not None else b""
        decoded = decode_inbox_body(body) if is_inbox_body(body) else None
        if decoded is None or decoded[1] > MAX_FRAME_ITEMS or sum(decoded) > batch.header.inbox_to:
            return {}
        start, count = decoded
        if all(index in known for index in range(start, start + count)):
            return {}
        return {message.index: message for message in await self._l1.inbox_messages(start, count)}

    def _wrong(self, posted: PostedBatch, error: ReplayError, messages: dict[int, InboxMessage]) -> WrongBatch:
        if error.frame is None or error.tx_code is None:
            # The contract checks all of that at submission, so an L1 that shows it must not be believed.
            raise InconsistentL1Error(f"The L1 contradicts itself: {error.message}") from error
        batch, state, read = decode_batch(posted.blob), self._replayer.state, messages.__getitem__
        frame = batch.frames[error.frame]
        mark = state.mark()
        try:
            for before in batch.frames[: error.frame]:
                execute_frame(state, batch.header, before, self._rules, read, is_last=False)
            witness = build_witness(state, batch.header, frame, self._rules, read)
        finally:
            state.rollback(mark)
        return WrongBatch(
            posted=posted,
            batch=batch,
            frame=error.frame,
            code=error.tx_code,
            messages=encode_messages(named_messages(frame.body, messages)),
            witness=witness.encode(),
        )


def _inbox_to(posted: PostedBatch) -> int:
    try:
        return decode_batch(posted.blob).header.inbox_to
    except BatchFormatError as error:
        raise InconsistentL1Error(f"The L1 holds a batch that its contract refuses: {error.message}") from error
