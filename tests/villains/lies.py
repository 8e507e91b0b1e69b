"""Wrong batches whose proof is known to whoever makes them, before they are posted."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from chain.codec import BatchData, BatchHeader, Frame, encode_batch
from chain.errors import ChainRejectedError
from chain.frames import fraud_proof
from chain.l1.protocol import FraudProof, PostedBatch
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import rules_of
from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import execute_body
from chain.txs import CreateAccount
from chain.witness import build_witness
from tests.villains.arena import Arena

LIE = keccak256(b"a root that nothing leads to")


@dataclass(frozen=True)
class Lie:
    """A batch whose first frame was given a wrong root, and whose last root is right, so that others can follow it."""

    proof: FraudProof
    prev_root: bytes
    inbox_hash: bytes
    blob: bytes

    async def post(self, l1: JsonRpcRollupL1) -> PostedBatch:
        """Post it."""
        return await l1.submit_batch(self.proof.batch_id, self.prev_root, self.inbox_hash, self.blob)


async def plan_lie(where: Arena, state: RollupState, salt: bytes, batches_before: int = 0) -> Lie:
    """The next batch but so many, on this state, which goes on as if it were honest.

    Args:
        where: The arena.
        state: What it builds on.
        salt: Of its proof; tells it from others too.
        batches_before: How many batches come before it that are not posted yet.
    """
    rules, l1 = rules_of(where.deployment), where.prover
    header = BatchHeader(l2_time_s=where.clock.now_s, inbox_to=state.meta.inbox_cursor)
    bodies = [CreateAccount(keccak256(salt + bytes([number]))[:20]).encode() for number in range(2)]
    prev_root, witness, frames = state.root(), b"", []
    for number, body in enumerate(bodies):
        if number == 0:
            first = Frame(post_root=bytes(32), body=body)
            witness = build_witness(state, header, first, rules, {}.__getitem__).encode()
        execute_body(state, header, body, rules, {}.__getitem__, is_last=number == len(bodies) - 1)
        frames.append(Frame(post_root=LIE if number == 0 else state.root(), body=body))
    batch_id = await l1.batch_count() + batches_before
    batch = BatchData(header=header, frames=tuple(frames))
    return Lie(
        proof=fraud_proof(batch_id, batch, 0, messages=b"", witness=witness, salt=salt),
        prev_root=prev_root,
        inbox_hash=await l1.inbox_hash(header.inbox_to),
        blob=encode_batch(header, frames),
    )


async def refused_as(sending: Awaitable[object]) -> str:
    """The code that something sent was refused with; empty if it was taken."""
    try:
        await sending
    except ChainRejectedError as error:
        return error.code
    return ""
