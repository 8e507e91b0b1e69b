"""Witnesses: the part of a state that re-executing one frame needs, packed so that a contract can check it.

A *witness* holds every leaf that the execution reads or writes, absent ones too, as it is *before* the frame, and the
siblings that lead from those leaves to the state root. Big-endian::

    leafCount2 ‖ for each leaf in ascending order: key4 ‖ length1 ‖ encoding     (length 0: the leaf is absent)
    bitCount2 ‖ bits…                                                            (the first bit is a byte's highest)
    hash32…

A walk from the bottom level up, in each level from left to right, takes one bit for each sibling that it doesn't
compute itself: 1 where the next hash is that sibling, 0 where it is an empty subtree. The same siblings lead from the
leaves as they are after the frame to the root after it. The meta leaf is always among the leaves.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import msgspec

from chain.codec import BatchHeader, Frame, decode_inbox_body, is_inbox_body
from chain.errors import IdlewattError
from chain.l1.protocol import InboxMessage
from chain.signing import keccak256
from chain.state import State
from chain.stf import Code, InboxReader, Rules, execute_body
from chain.tree import DEPTH, EMPTY
from chain.types import META_KEY, Leaf, decode_leaf

_LEAF_HEAD = struct.Struct(">IB")
_COUNT = struct.Struct(">H")
_HASH_BYTES = len(EMPTY)


class WitnessError(IdlewattError):
    """Bytes that are no witness, or one that lacks a leaf which the execution needs."""

    default_code = "bad_witness"


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """Leaves of one state, and the siblings that prove them."""

    leaves: tuple[tuple[int, Leaf | None], ...]
    """By ascending state index; ``None`` where the state has no leaf."""
    siblings: tuple[bytes, ...]
    """In the order of the walk; ``EMPTY`` for an empty subtree."""

    def encode(self) -> bytes:
        """The bytes that the contract reads."""
        parts = [_COUNT.pack(len(self.leaves))]
        for key, leaf in self.leaves:
            encoding = leaf.encode() if leaf is not None else b""
            parts += [_LEAF_HEAD.pack(key, len(encoding)), encoding]
        present = [sibling != EMPTY for sibling in self.siblings]
        parts += [_COUNT.pack(len(present)), _pack_bits(present)]
        parts += [sibling for sibling in self.siblings if sibling != EMPTY]
        return b"".join(parts)


def build_witness(state: State, header: BatchHeader, frame: Frame, rules: Rules, inbox: InboxReader) -> Witness:
    """The witness of executing a frame on ``state``, whatever code it comes to; the state is left as it was."""
    mark = state.mark()
    with state.recording() as keys:
        try:
            # Being the last frame changes the code at most: the cursor stands in the meta leaf, which is read anyhow.
            execute_body(state, header, frame.body, rules, inbox, is_last=True)
        finally:
            state.rollback(mark)
    order = sorted(keys | {META_KEY})
    return Witness(leaves=tuple((key, state.leaf(key)) for key in order), siblings=tuple(state.multiproof(order)))


def read_witness(data: bytes) -> Witness:
    """Read a witness's bytes.

    Raises:
        WitnessError: If they are none, or not written as ``Witness.encode`` does.
    """
    try:
        leaves, offset = _read_leaves(data)
        (count,) = _COUNT.unpack_from(data, offset)
        offset += _COUNT.size
        bits = data[offset : offset + (count + 7) // 8]
        present = [bool(bits[number // 8] >> 7 - number % 8 & 1) for number in range(count)]
        hashes = data[offset + len(bits) :]
    except (struct.error, IndexError, ValueError) as error:
        raise WitnessError("These bytes are no witness.") from error
    chunks = [hashes[start : start + _HASH_BYTES] for start in range(0, len(hashes), _HASH_BYTES)]
    if len(chunks) != sum(present) or len(hashes) % _HASH_BYTES:
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
    state = State.from_leaves((key, leaf) for key, leaf in witness.leaves if leaf is not None)
    with state.recording() as keys:
        code = execute_body(state, header, frame.body, rules, inbox, is_last=is_last)
    if not keys <= dict(witness.leaves).keys():
        raise WitnessError("The witness lacks a leaf that the execution needs.")
    return code, root_of_witness(witness, {key: state.leaf(key) for key, _ in witness.leaves})


def named_messages(body: bytes, messages: Mapping[int, InboxMessage]) -> list[InboxMessage]:
    """The inbox messages that a frame's body names and the inbox holds, up to the first that it doesn't hold."""
    decoded = decode_inbox_body(body) if is_inbox_body(body) else None
    if decoded is None:
        return []
    start, count = decoded
    named: list[InboxMessage] = []
    while len(named) < count and start + len(named) in messages:
        named.append(messages[start + len(named)])
    return named


def encode_messages(messages: Sequence[InboxMessage]) -> bytes:
    """What a fraud proof hands over of inbox messages.

    Each is ``kind1 ‖ timestamp8``, then for a deposit ``owner20 ‖ hint4 ‖ amount8``, for a forced transaction
    ``length1 ‖ body``.
    """
    return b"".join(_encode_message(message) for message in messages)


def _encode_message(message: InboxMessage) -> bytes:
    at_s = message.at_s.to_bytes(8, "big")
    if message.kind == "deposit":
        hint, amount = message.index_hint.to_bytes(4, "big"), message.amount_nano.to_bytes(8, "big")
        return b"\x01" + at_s + message.owner + hint + amount
    return b"\x02" + at_s + len(message.body).to_bytes(1, "big") + message.body


def _read_leaves(data: bytes) -> tuple[tuple[tuple[int, Leaf | None], ...], int]:
    (count,) = _COUNT.unpack_from(data)
    offset = _COUNT.size
    leaves: dict[int, Leaf | None] = {}
    last = -1
    for _ in range(count):
        key, length = _LEAF_HEAD.unpack_from(data, offset)
        offset += _LEAF_HEAD.size
        encoding = data[offset : offset + length]
        offset += length
        if key <= last or (encoding and encoding[0] != (key >> 30) + 1):
            raise ValueError("a leaf is out of order, or in another region than its own")
        leaves[key] = decode_leaf(encoding) if length else None
        last = key
    return tuple(leaves.items()), offset


def _pack_bits(bits: Sequence[bool]) -> bytes:
    packed = bytearray((len(bits) + 7) // 8)
    for number, bit in enumerate(bits):
        if bit:
            packed[number // 8] |= 0x80 >> number % 8
    return bytes(packed)
