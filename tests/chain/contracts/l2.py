"""A real L2 under a real contract: true and false batches over one state, with the proofs about every frame of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.codec import BatchData, BatchHeader, Frame, encode_batch, encode_inbox_body
from chain.eip712 import SigningDomain
from chain.frames import fraud_proof
from chain.l1.protocol import FraudProof, InboxMessage, next_inbox_hash
from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import Code, Rules, execute_body
from chain.witness import build_witness, encode_messages, named_messages
from tests.chain.contracts.conftest import REVEAL_BLOCKS, inbox_hash
from tests.chain.contracts.harness import CHAIN_ID, KEYS, Handle, Ledger, Sent

SALT = keccak256(b"salt of the tests")
NO_HINT = 2**32 - 1


@dataclass(frozen=True)
class Posted:
    """A batch with the witness of each frame, on the state that the frames before it lead to."""

    batch_id: int
    batch: BatchData
    witnesses: tuple[bytes, ...]
    messages: tuple[bytes, ...]

    def proof(self, frame_index: int) -> FraudProof:
        return fraud_proof(
            self.batch_id,
            self.batch,
            frame_index,
            messages=self.messages[frame_index],
            witness=self.witnesses[frame_index],
            salt=SALT,
        )


class L2:
    """What an operator knows: the state, the inbox, and where the contracts are."""

    def __init__(self, ledger: Ledger, rollup: Handle, inbox: Handle) -> None:
        self.ledger, self.rollup, self.inbox = ledger, rollup, inbox
        self.state = RollupState.genesis()
        self.domain = SigningDomain(CHAIN_ID, rollup.address, rollup.call("deploymentSalt"))
        self.rules = Rules(domain=self.domain, close_delay_s=90, unstake_delay_s=91)
        self.messages: dict[int, InboxMessage] = {}

    def deposit(self, owner: bytes, amount_nano: int, hint: int = NO_HINT) -> int:
        from chain.l1.connection import checksum

        index = len(self.messages)
        self.inbox.send("deposit", checksum(owner), hint, amount_nano)
        return self._arrived("deposit", index, owner=owner, index_hint=hint, amount_nano=amount_nano)

    def force(self, body: bytes) -> int:
        index = len(self.messages)
        self.inbox.send("forceTx", body)
        return self._arrived("forced", index, body=body)

    def _arrived(self, kind: Any, index: int, **fields: Any) -> int:
        empty = {"owner": bytes(20), "index_hint": 0, "amount_nano": 0, "body": b""}
        record = self.inbox.call("messages", index, 1)[0]
        message = InboxMessage(index=index, kind=kind, at_s=record[1], l1_block=record[2], **(empty | fields))
        before = self.inbox.call("hashOf", index)
        assert next_inbox_hash(before, message.content_hash()) == record[0]
        self.messages[index] = message
        return index

    def post(
        self,
        *bodies: bytes,
        lies: Mapping[int, bytes] | None = None,
        inbox_to: int | None = None,
        l2_time_s: int | None = None,
        key: bytes = KEYS[0],
    ) -> Posted:
        """Execute and post a batch: the messages that wait, then these bodies; ``lies`` are roots posted instead."""
        cursor = self.state.meta.inbox_cursor
        end = len(self.messages) if inbox_to is None else inbox_to
        inbox_bodies = [encode_inbox_body(start, min(8, end - start)) for start in range(cursor, end, 8)]
        header = BatchHeader(l2_time_s=self.ledger.now_s if l2_time_s is None else l2_time_s, inbox_to=end)
        posted = self.build(header, [*inbox_bodies, *bodies], lies or {})
        blob = encode_batch(header, posted.batch.frames)
        self.submit(posted.batch_id, end, blob, key=key)
        return posted

    def submit(self, batch_id: int, inbox_to: int, blob: bytes, key: bytes = KEYS[0]) -> Sent:
        """Post a finished blob on the newest root, for the inbox as it is."""
        prev_root, end = self.rollup.call("headRoot"), inbox_hash(self.rollup, inbox_to)
        return self.rollup.send("submitBatch", batch_id, prev_root, end, blob, key=key)

    def build(self, header: BatchHeader, bodies: Sequence[bytes], lies: Mapping[int, bytes]) -> Posted:
        frames: list[Frame] = []
        witnesses: list[bytes] = []
        read: Callable[[int], InboxMessage] = self.messages.__getitem__
        for number, body in enumerate(bodies):
            frame = Frame(post_root=bytes(32), body=body)
            witnesses.append(build_witness(self.state, header, frame, self.rules, read).encode())
            mark = self.state.mark()
            is_last = number == len(bodies) - 1
            if execute_body(self.state, header, body, self.rules, read, is_last=is_last) is not Code.OK:
                self.state.rollback(mark)
            frames.append(Frame(post_root=lies.get(number, self.state.root()), body=body))
        return Posted(
            batch_id=self.rollup.call("count"),
            batch=BatchData(header=header, frames=tuple(frames)),
            witnesses=tuple(witnesses),
            messages=tuple(encode_messages(named_messages(body, self.messages)) for body in bodies),
        )

    def commit(self, proof: FraudProof, key: bytes = KEYS[2]) -> Sent:
        from chain.signing import address_of

        return self.rollup.send("commitFraud", proof.commitment(address_of(key)), key=key)

    def reveal(self, proof: FraudProof, key: bytes = KEYS[2]) -> Sent:
        return self.rollup.send("proveFraud", *arguments(proof), key=key)

    def prove(self, proof: FraudProof, key: bytes = KEYS[2]) -> Sent:
        """Commit, wait, and reveal."""
        self.commit(proof, key)
        self.ledger.mine(REVEAL_BLOCKS - 1)
        return self.reveal(proof, key)

    def finalize(self, window_s: int) -> None:
        """Let everything that stands become final."""
        self.ledger.now_s += window_s
        self.rollup.send("finalize", self.rollup.call("count"))


def arguments(proof: FraudProof) -> tuple[Any, ...]:
    """What `proveFraud` takes."""
    previous = proof.previous
    return (
        proof.batch_id,
        proof.frame_index,
        (previous.post_root, previous.body_hash, list(previous.siblings)),
        (proof.post_root, proof.body, list(proof.siblings)),
        proof.messages,
        proof.witness,
        proof.salt,
    )
