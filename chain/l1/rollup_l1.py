"""The rollup's contracts over JSON-RPC: the one implementation of `RollupL1`, for the embedded L1 and any other.

Whatever an L1 answers is checked against what the contracts committed to (a deposit against its hash, a batch against
its calldata) before anybody acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.codec import BatchFormatError, decode_batch
from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode
from chain.frames import frames_root
from chain.l1.answers import contradiction, integer
from chain.l1.calldata import read_submission
from chain.l1.disputes import DisputesL1
from chain.l1.exits import ExitsL1, claim_call
from chain.l1.fast import FastL1
from chain.l1.inbox import InboxL1
from chain.l1.protocol import PostedBatch
from chain.types import Withdrawal

MAX_PAGE_BATCHES = 16
MAX_FINALIZED_AT_ONCE = 512
_CLAIMED_MEANWHILE: frozenset[ErrorCode] = frozenset({"already_claimed", "reverted"})
"""Refusals that somebody else's claim explains: before it was sent, or in the same block."""
CLAIM_PAGE_BLOCKS = 100_000


class JsonRpcRollupL1(InboxL1, DisputesL1, ExitsL1, FastL1):
    """`RollupL1` over an L1's JSON-RPC.

    Args:
        url: The L1's JSON-RPC over HTTP.
        deployment: The contracts to talk to.
        operator_key: Signs and pays for what is sent; without it this instance only reads.
    """

    async def check_chain(self) -> None:
        """Make sure that the L1 is the one this deployment lives on.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: With code ``foreign_chain`` if it is another chain, or was reset.
        """
        eth = self.connection.web3.eth
        chain_id = await self.connection.request(lambda: eth.chain_id)
        try:
            block = await self.connection.request(lambda: eth.get_block(self._deployment.block_number))
        except ChainRejectedError:
            block = None
        if chain_id != self._deployment.l1_chain_id or block is None or block["hash"] != self._deployment.block_hash:
            raise ChainRejectedError(
                "This L1 is not the one the rollup was deployed on.",
                code="foreign_chain",
                fix="Point to the right L1, or start over with a new home.",
            )

    async def time_s(self) -> int:
        """The timestamp that a block mined now would have, or the newest block's where the L1 shows no pending one."""
        eth = self.connection.web3.eth
        try:
            block = await self.connection.request(lambda: eth.get_block("pending"))
        except ChainRejectedError:
            block = await self.connection.request(lambda: eth.get_block("latest"))
        return integer(block["timestamp"])

    # -------------------------------------------------------------------------------------------------------- reading

    async def batch_count(self) -> int:
        """How many batches stand on L1; the next one's id."""
        return integer(await self._call(self._rollup.functions.count()))

    async def final_count(self) -> int:
        """How many of them are final."""
        return integer(await self._call(self._rollup.functions.finalCount()))

    async def post_root(self, batch_id: int) -> bytes | None:
        """The state root after a batch, as the contract keeps it; ``None`` if it doesn't stand."""
        records = await self._call(self._rollup.functions.batches(batch_id, 1))
        return bytes(records[0][1]) if records else None

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        """Batches from id ``start`` on, blobs read back from the transactions that posted them.

        A batch that can't be read ends the page before it; as the first of a page it is an error that names it.
        """
        records = await self._call(self._rollup.functions.batches(start, min(limit, MAX_PAGE_BATCHES)))
        if not records:
            return []
        blocks = {start + i: integer(record[7]) for i, record in enumerate(records)}
        logs = await self._logs.at(self._rollup.events.BatchSubmitted, blocks)
        # The event of a batch that was taken back stays; the record shows which batch stands.
        standing = {(log["args"]["id"], log["blockNumber"], log["args"]["framesRoot"]): log for log in logs}
        page: list[PostedBatch] = []
        for batch_id, record in enumerate(records, start):
            try:
                page.append(await self._posted(batch_id, record, standing.get((batch_id, record[7], record[0]))))
            except ChainUnavailableError as error:
                if not page or error.code != "chain_bad_answer":
                    raise
                break
        return page

    async def _posted(self, batch_id: int, record: Any, log: Any) -> PostedBatch:
        if log is None:
            contradiction(f"batch {batch_id} has no event")
        transaction = await self._transaction(batch_id, bytes(log["transactionHash"]))
        if transaction is None or transaction[0] != self._deployment.rollup_address:
            contradiction(f"batch {batch_id} has no transaction")
        submission = read_submission(transaction[1])
        if submission is None:
            contradiction(f"batch {batch_id} can't be read from the data of its transaction")
        if (submission.batch_id, submission.prev_root) != (batch_id, log["args"]["prevRoot"]):
            contradiction(f"batch {batch_id} was posted by another call")
        _check_blob(batch_id, submission.blob, record)
        return PostedBatch(
            batch_id=batch_id,
            prev_root=submission.prev_root,
            post_root=record[1],
            inbox_hash=submission.inbox_hash,
            blob=submission.blob,
            l1_tx=bytes(log["transactionHash"]),
            l1_block=record[7],
            submitted_at_s=record[3],
            submitter=bytes.fromhex(record[2][2:]),
        )

    async def _transaction(self, batch_id: int, l1_tx: bytes) -> tuple[bytes, bytes] | None:
        try:
            return await self.connection.transaction(l1_tx)
        except ChainUnavailableError as error:
            if error.code != "chain_bad_answer":
                raise
            contradiction(f"batch {batch_id} has a transaction that makes no sense")

    async def is_claimed(self, index: int) -> bool:
        """Whether the withdrawal at this state index was paid."""
        return bool(await self._call(self._rollup.functions.claimed(index)))

    async def claim_tx(self, index: int) -> bytes | None:
        """The L1 transaction that paid the withdrawal at this state index; ``None`` if none did."""
        if not await self.is_claimed(index):
            return None
        # Newest first: whoever asks has seen it paid a moment ago, mostly.
        kind, first = self._rollup.events.WithdrawalClaimed, self._deployment.block_number
        end = await self.block_number()
        logs: list[Any] = []
        while not logs and end >= first:
            start = max(first, end - CLAIM_PAGE_BLOCKS + 1)
            logs = await self._logs.read([kind], start, end, [index])
            end = start - 1
        if not logs:
            contradiction(f"the claim of withdrawal {index} has no event")
        return bytes(logs[-1]["transactionHash"])

    # -------------------------------------------------------------------------------------------------------- sending

    async def submit_batch(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch:
        """Post a batch and wait for its L1 receipt; the same batch is returned as it is where it stands already."""
        batch = prev_root, inbox_hash, blob
        standing = await self._standing(batch_id, *batch)
        if standing is None:
            try:
                await self._signer().send(self._rollup.functions.submitBatch(batch_id, *batch))
            except ChainRejectedError:
                # An earlier attempt posted it: its answer was lost, but L1 mined it.
                standing = await self._standing(batch_id, *batch)
                if standing is None:
                    raise
            standing = standing or await self._standing(batch_id, *batch)
        if standing is None:
            contradiction(f"batch {batch_id} was mined but doesn't stand")
        return standing

    async def _standing(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch | None:
        found = await self.batches(batch_id, 1)
        if not found:
            return None
        if (found[0].prev_root, found[0].inbox_hash, found[0].blob) != (prev_root, inbox_hash, blob):
            raise ChainRejectedError(
                f"Another batch stands on L1 as number {batch_id}.",
                code="batch_taken",
                fix="Rebuild the L2 state from L1 before posting again.",
            )
        return found[0]

    async def finalize(self) -> int:
        """Make every batch past its window final; returns the new final count."""
        final = await self.final_count()
        ready = integer(await self.connection.call_pending(self._rollup.functions.finalizable(MAX_FINALIZED_AT_ONCE)))
        if ready <= final:
            return final
        await self._signer().send(self._rollup.functions.finalize(ready))
        return ready

    async def claim_withdrawal(
        self, batch_id: int, index: int, withdrawal: Withdrawal, siblings: Sequence[bytes]
    ) -> bytes:
        """Pay a withdrawal by its proof; returns the hash of the L1 transaction that pays or, earlier, paid it."""
        paid = await self.claim_tx(index)
        if paid is not None:
            return paid
        claim = claim_call(self._rollup, batch_id, index, withdrawal, siblings)
        try:
            receipt = await self._signer().send(claim)
        except ChainRejectedError as error:
            paid = await self.claim_tx(index) if error.code in _CLAIMED_MEANWHILE else None
            if paid is None:
                raise
            return paid
        return bytes(receipt["transactionHash"])


def _check_blob(batch_id: int, blob: bytes, record: Any) -> None:
    """Hold a batch's data against what the contract kept of it when it took it."""
    try:
        batch = decode_batch(blob)
    except BatchFormatError:
        contradiction(f"batch {batch_id} is none that the contract takes")
    header = batch.header.l2_time_s, batch.header.inbox_to
    if (frames_root(batch), batch.frames[-1].post_root, *header) != (record[0], record[1], record[5], record[6]):
        contradiction(f"batch {batch_id} is another one than the contract took")
