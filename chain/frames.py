"""The Merkle tree over a batch's frames, and the fraud proof about one of them.

A frame's leaf is ``keccak(postRoot ‖ keccak(body))``; the leaves are padded with zeros to a power of two, and two empty
children make an empty node, as in the state tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.codec import BatchData
from chain.l1.protocol import NO_FRAME, FramePlace, FraudProof
from chain.signing import keccak256
from chain.tree import EMPTY


def frame_siblings(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings that lead from the leaf at ``index`` to the root, from the leaf up."""
    siblings = []
    for level in _levels(leaves)[:-1]:
        siblings.append(level[index ^ 1] if index ^ 1 < len(level) else EMPTY)
        index >>= 1
    return tuple(siblings)


def frames_root(batch: BatchData) -> bytes:
    """The root over a batch's frames, which the contract keeps of its data."""
    return _levels([frame.leaf() for frame in batch.frames])[-1][0]


def fraud_proof(
    batch_id: int, batch: BatchData, frame_index: int, *, messages: bytes, witness: bytes, salt: bytes
) -> FraudProof:
    """What proves on L1 that a frame is wrong.

    Args:
        batch_id: The batch's id.
        batch: As its data on L1 decodes.
        frame_index: The wrong frame's place in it.
        messages: The packed contents of the inbox messages that the frame names (``chain.witness.encode_messages``).
        witness: The state before the frame, as far as the frame touches it (``chain.witness.build_witness``).
        salt: 32 random bytes.
    """
    leaves = [frame.leaf() for frame in batch.frames]
    frame = batch.frames[frame_index]
    previous = NO_FRAME
    if frame_index > 0:
        before = batch.frames[frame_index - 1]
        previous = FramePlace(
            post_root=before.post_root,
            body_hash=keccak256(before.body),
            siblings=frame_siblings(leaves, frame_index - 1),
        )
    return FraudProof(
        batch_id=batch_id,
        frame_index=frame_index,
        previous=previous,
        post_root=frame.post_root,
        body=frame.body,
        siblings=frame_siblings(leaves, frame_index),
        messages=messages,
        witness=witness,
        salt=salt,
    )


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1] + [EMPTY] * (len(levels[-1]) % 2)
        levels.append([_node(level[i], level[i + 1]) for i in range(0, len(level), 2)])
    return levels


def _node(left: bytes, right: bytes) -> bytes:
    return EMPTY if left == EMPTY == right else keccak256(left + right)
