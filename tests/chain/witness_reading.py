"""What the contract does with a witness, in Python: reading it, its root, and executing a frame on it alone."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from chain.codec import BatchHeader, Frame
from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import Code, InboxReader, Rules, execute_body
from chain.tree import DEPTH, EMPTY
from chain.types import META_KEY, Leaf, decode_leaf
from chain.witness import COUNT, HASH_BYTES, LEAF_HEAD, Witness


class WitnessError(Exception):
    """Bytes that are no witness, or one that lacks a leaf which the execution needs."""


def read_witness(data: bytes) -> Witness:
    """Read a witness's bytes.

    Raises:
        WitnessError: If they are none, or not written as ``Witness.encode`` does.
    """
    try:
        leaves, offset = _read_leaves(data)
        (count,) = COUNT.unpack_from(data, offset)
        offset += COUNT.size
        bits = data[offset : offset + (count + 7) // 8]
        present = [bool(bits[number // 8] >> 7 - number % 8 & 1) for number in range(count)]
        hashes = data[offset + len(bits) :]
    except (struct.error, IndexError, ValueError) as error:
        raise WitnessError("These bytes are no witness.") from error
    chunks = [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]
    if len(chunks) != sum(present) or len(hashes) % HASH_BYTES:
        raise WitnessError("The witness has another number of siblings than it says.")
    following = iter(chunks)
    witness = Witness(leaves=leaves, siblings=tuple(next(following) if bit else EMPTY for bit in present))
    if witness.encode() != data:
        raise WitnessError("The witness isn't written as it should be.")
    return witness


def root_of_witness(witness: Witness, changes: Mapping[int, Leaf | None] | None = None) -> bytes:
    """The root that a witness leads to, with some of its leaves changed.

    Raises:
        WitnessError: If the siblings don't fit the leaves, or a changed leaf is not among them.
    """
    leaves = dict(witness.leaves)
    if changes and not changes.keys() <= leaves.keys():
        raise WitnessError("The witness lacks a leaf that was changed.")
    leaves.update(changes or {})
    nodes = {key: EMPTY if leaf is None else keccak256(leaf.encode()) for key, leaf in leaves.items()}
    siblings = iter(witness.siblings)
    try:
        for _ in range(DEPTH):
            parents: dict[int, bytes] = {}
            for index, node in nodes.items():
                if index >> 1 not in parents:
                    sibling = nodes[index ^ 1] if index ^ 1 in nodes else next(siblings)
                    left, right = (sibling, node) if index & 1 else (node, sibling)
                    parents[index >> 1] = EMPTY if left == EMPTY == right else keccak256(left + right)
            nodes = parents
    except StopIteration:
        raise WitnessError("The witness has too few siblings.") from None
    if next(siblings, None) is not None:
        raise WitnessError("The witness has too many siblings.")
    return nodes[0]


def execute_witness(
    witness: Witness, header: BatchHeader, frame: Frame, rules: Rules, inbox: InboxReader, *, is_last: bool
) -> tuple[Code, bytes]:
    """Execute a frame on a witness alone, as the contract does: the code, and the root after it.

    The root means nothing unless the code is ``OK``. That the witness leads to the right root is for the caller to see.

    Raises:
        WitnessError: If the witness lacks a leaf that the execution needs.
    """
    if dict(witness.leaves).get(META_KEY) is None:
        raise WitnessError("The witness lacks the meta leaf.")
    state = RollupState.from_leaves((key, leaf) for key, leaf in witness.leaves if leaf is not None)
    with state.recording() as keys:
        code = execute_body(state, header, frame.body, rules, inbox, is_last=is_last)
    if not keys <= dict(witness.leaves).keys():
        raise WitnessError("The witness lacks a leaf that the execution needs.")
    return code, root_of_witness(witness, {key: state.leaf(key) for key, _ in witness.leaves})


def _read_leaves(data: bytes) -> tuple[tuple[tuple[int, Leaf | None], ...], int]:
    (count,) = COUNT.unpack_from(data)
    offset = COUNT.size
    leaves: dict[int, Leaf | None] = {}
    last = -1
    for _ in range(count):
        key, length = LEAF_HEAD.unpack_from(data, offset)
        offset += LEAF_HEAD.size
        encoding = data[offset : offset + length]
        offset += length
        if key <= last or (encoding and encoding[0] != (key >> 30) + 1):
            raise ValueError("a leaf is out of order, or in another region than its own")
        leaves[key] = decode_leaf(encoding) if length else None
        last = key
    return tuple(leaves.items()), offset
