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
from chain.l1.protocol import InboxMessage
from chain.state import RollupState
from chain.stf import InboxReader, Rules, execute_body
from chain.tree import EMPTY
from chain.types import META_KEY, Leaf

LEAF_HEAD = struct.Struct(">IB")
COUNT = struct.Struct(">H")
HASH_BYTES = len(EMPTY)


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """Leaves of one state, and the siblings that prove them."""

    leaves: tuple[tuple[int, Leaf | None], ...]
    """By ascending state index; ``None`` where the state has no leaf."""
    siblings: tuple[bytes, ...]
    """In the order of the walk; ``EMPTY`` for an empty subtree."""

    def encode(self) -> bytes:
        """The bytes that the contract reads."""
        parts = [COUNT.pack(len(self.leaves))]
        for key, leaf in self.leaves:
            encoding = leaf.encode() if leaf is not None else b""
            parts += [LEAF_HEAD.pack(key, len(encoding)), encoding]
        present = [sibling != EMPTY for sibling in self.siblings]
        parts += [COUNT.pack(len(present)), _pack_bits(present)]
        parts += [sibling for sibling in self.siblings if sibling != EMPTY]
        return b"".join(parts)


def build_witness(state: RollupState, header: BatchHeader, frame: Frame, rules: Rules, inbox: InboxReader) -> Witness:
    """The witness of executing a frame on ``state``, whatever code it comes to; the state is left as it was.

    Args:
        state: The state before the frame.
        header: Of the frame's batch.
        frame: The frame.
        rules: What the deployment fixes.
        inbox: Gives an inbox message by its index.
    """
    mark = state.mark()
    with state.recording() as keys:
        try:
            # Being the last frame changes at most the code: the cursor is in the meta leaf, which is read in any case.
            execute_body(state, header, frame.body, rules, inbox, is_last=True)
        finally:
            state.rollback(mark)
    order = sorted(keys | {META_KEY})
    return Witness(leaves=tuple((key, state.leaf(key)) for key in order), siblings=tuple(state.multiproof(order)))


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
    ``length2 ‖ body``.
    """
    return b"".join(_encode_message(message) for message in messages)


def _encode_message(message: InboxMessage) -> bytes:
    at_s = message.at_s.to_bytes(8, "big")
    if message.kind == "deposit":
        hint, amount = message.index_hint.to_bytes(4, "big"), message.amount_nano.to_bytes(8, "big")
        return b"\x01" + at_s + message.owner + hint + amount
    return b"\x02" + at_s + len(message.body).to_bytes(2, "big") + message.body


def _pack_bits(bits: Sequence[bool]) -> bytes:
    packed = bytearray((len(bits) + 7) // 8)
    for number, bit in enumerate(bits):
        if bit:
            packed[number // 8] |= 0x80 >> number % 8
    return bytes(packed)
