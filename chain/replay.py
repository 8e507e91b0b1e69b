"""Rebuilding L2 from L1 alone: every posted batch is executed again, and every posted root compared."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from chain.codec import BatchData, BatchFormatError, decode_batch
from chain.errors import IdlewattError
from chain.l1.protocol import Deployment, InboxMessage, PostedBatch, RollupL1
from chain.signing import keccak256
from chain.state import GENESIS_ROOT, RollupState
from chain.stf import Code, Rules, execute_frame

PAGE_BATCHES = 16
PAGE_MESSAGES = 256


class ReplayError(IdlewattError):
    """L1 holds a batch that doesn't follow from the state before it; names the batch and the wrong frame, if one is.

    ``tx_code`` is the code a fraud proof of that frame would come to; ``None`` where the batch is wrong as a whole.

    Args:
        message: One sentence.
        batch_id: The wrong batch.
        frame: Its first wrong frame, if a frame is wrong.
        tx_code: The rule that the frame breaks.
    """

    default_code = "invalid_batch"

    def __init__(self, message: str, *, batch_id: int, frame: int | None = None, tx_code: Code | None = None) -> None:
        super().__init__(message, fix="Don't build on this chain: its sequencer posted a wrong batch.")
        self.batch_id = batch_id
        self.frame = frame
        self.tx_code = tx_code


class ReplayedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch that was executed again and found right."""

    posted: PostedBatch
    batch: BatchData
    messages: tuple[InboxMessage, ...]
    """The inbox messages that it executes."""


def rules_of(deployment: Deployment) -> Rules:
    """The transition's rules for a deployment."""
    return Rules(
        domain=deployment.domain,
        close_delay_s=deployment.close_delay_s,
        unstake_delay_s=deployment.unstake_delay_s,
    )


def deployment_id(deployment: Deployment) -> bytes:
    """32 bytes that no other deployment shares, a reset devnet at the same addresses included."""
    return keccak256(deployment.l1_chain_id.to_bytes(32, "big") + deployment.rollup_address + deployment.block_hash)


class Replayer:
    """An L2 state that follows the batches on L1, one at a time.

    Args:
        rules: The deployment's rules.
        state: The state before batch ``next_batch``; the genesis state when left out.
        next_batch: The id of the batch to execute next.
    """

    def __init__(self, rules: Rules, *, state: RollupState | None = None, next_batch: int = 0) -> None:
        self._rules = rules
        self._messages: dict[int, InboxMessage] = {}
        self.state = state or RollupState.genesis()
        self.next_batch = next_batch

    def add_messages(self, messages: list[InboxMessage]) -> None:
        """Make L1 inbox messages known, which the batches to come execute."""
        self._messages.update((message.index, message) for message in messages)

    def advance(self, posted: PostedBatch) -> ReplayedBatch:
        """Execute the next batch and compare every root it posted; a wrong batch leaves the state as it was.

        Raises:
            ReplayError: If the batch is out of order, malformed, or wrong in any frame.
        """
        batch_id = posted.batch_id
        if batch_id != self.next_batch:
            raise ReplayError(f"Expected batch {self.next_batch}, got {batch_id}.", batch_id=batch_id)
        if posted.prev_root != self.state.root():
            raise ReplayError(f"Batch {batch_id} doesn't follow from the state before it.", batch_id=batch_id)
        try:
            batch = decode_batch(posted.blob)
        except BatchFormatError as error:
            raise ReplayError(f"Batch {batch_id} is malformed: {error.message}", batch_id=batch_id) from error
        self._check_header(batch_id, batch)
        mark, inbox_from = self.state.mark(), self.state.meta.inbox_cursor
        try:
            self._execute(batch_id, batch)
            if posted.post_root != self.state.root():
                raise ReplayError(f"Batch {batch_id} commits to another root than its last frame.", batch_id=batch_id)
        except ReplayError:
            self.state.rollback(mark)
            raise
        self.next_batch += 1
        messages = tuple(self._messages.pop(index) for index in range(inbox_from, batch.header.inbox_to))
        return ReplayedBatch(posted=posted, batch=batch, messages=messages)

    def _check_header(self, batch_id: int, batch: BatchData) -> None:
        meta = self.state.meta
        if batch.header.l2_time_s < meta.l2_time_s:
            raise ReplayError(f"Batch {batch_id} turns L2 time back.", batch_id=batch_id)
        count = batch.header.inbox_to - meta.inbox_cursor
        is_known = 0 <= count <= len(self._messages) and all(
            index in self._messages for index in range(meta.inbox_cursor, batch.header.inbox_to)
        )
        if not is_known:
            raise ReplayError(f"Batch {batch_id} names inbox messages that L1 doesn't have.", batch_id=batch_id)

    def _execute(self, batch_id: int, batch: BatchData) -> None:
        last = len(batch.frames) - 1
        for number, frame in enumerate(batch.frames):
            code = execute_frame(
                self.state, batch.header, frame, self._rules, self._messages.__getitem__, is_last=number == last
            )
            if code is not Code.OK:
                reason = f"code {code.value}, {code.name.lower().replace('_', ' ')}"
                raise ReplayError(
                    f"Batch {batch_id} is wrong at frame {number} ({reason}).",
                    batch_id=batch_id,
                    frame=number,
                    tx_code=code,
                )


async def replay_l1(l1: RollupL1, *, replayer: Replayer | None = None) -> AsyncIterator[ReplayedBatch]:
    """Execute every batch on L1, from genesis or from where ``replayer`` is, yielding each as it is verified.

    Raises:
        ReplayError: At the first batch that is wrong.
        ChainUnavailableError: If L1 does not answer.
    """
    deployment = await l1.deployment()
    if deployment.genesis_root != GENESIS_ROOT:
        raise ReplayError("This rollup starts from another genesis state than this program's.", batch_id=0)
    follower = replayer or Replayer(rules_of(deployment))
    next_message = follower.state.meta.inbox_cursor
    while page := await l1.batches(follower.next_batch, PAGE_BATCHES):
        for posted in page:
            inbox_to = _inbox_to(posted)
            while next_message < inbox_to:
                messages = list(await l1.inbox_messages(next_message, PAGE_MESSAGES))
                if not messages:
                    break
                follower.add_messages(messages)
                next_message += len(messages)
            yield follower.advance(posted)
            follower.state.settle()


def _inbox_to(posted: PostedBatch) -> int:
    try:
        return decode_batch(posted.blob).header.inbox_to
    except BatchFormatError:
        return 0
