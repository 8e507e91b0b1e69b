"""Batches as L1 calldata has them.

A *blob* is ``version1 l2Time8 inboxTo8`` and then frames ``length2 postRoot32 body``, where ``length`` counts the
body alone and ``postRoot`` is the state root after it. A body is one of two kinds, told apart by its first byte:

* **inbox** (``0x00``): ``00 ‖ from8 ‖ count1``: executes the L1 inbox messages ``from … from+count-1``, whose content
  is on L1. 1 ≤ count ≤ K, ``from`` equals the state's inbox cursor, and ``from + count ≤ inboxTo``;
* **transactions**: 1 … K transactions one after the other, each as long as its type says. The cursor must have reached
  ``inboxTo`` before, so inbox frames come first, and every rule can be checked on one frame and the root before it.

Each frame's execution begins by setting the meta leaf's l2Time to the header's. A frame's leaf in the batch
commitment is ``keccak(postRoot ‖ keccak(body))``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from chain.errors import IdlewattError
from chain.signing import keccak256

BATCH_VERSION = 1
MAX_FRAME_ITEMS = 8
"""K: transactions or inbox messages in one frame."""
MAX_BLOB_BYTES = 110_000
MAX_BODY_BYTES = 808
"""Of a frame: eight of every kind of transaction but openings and slashes, of which as many fit as do. It bounds a
proof's gas."""
MAX_FORCED_TX_BYTES = 288
INBOX_BODY_TAG = 0

_HEADER = struct.Struct(">BQQ")
_FRAME = struct.Struct(">H32s")
_INBOX_BODY = struct.Struct(">BQB")

HEADER_BYTES = _HEADER.size
FRAME_HEAD_BYTES = _FRAME.size
INBOX_BODY_BYTES = _INBOX_BODY.size


class BatchFormatError(IdlewattError):
    """A blob that is no batch."""

    default_code = "malformed_batch"


class BatchHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every frame of a batch."""

    l2_time_s: int
    inbox_to: int
    """The inbox cursor after the batch."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One step that can be disputed alone: its body, and the state root it claims to reach."""

    post_root: bytes
    body: bytes

    def leaf(self) -> bytes:
        """The frame's leaf in the batch's commitment."""
        return keccak256(self.post_root + keccak256(self.body))


class BatchData(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded blob."""

    header: BatchHeader
    frames: tuple[Frame, ...]


def encode_batch(header: BatchHeader, frames: Sequence[Frame]) -> bytes:
    """The blob of a batch.

    Raises:
        BatchFormatError: If a body is longer than ``MAX_BODY_BYTES`` or the blob than ``MAX_BLOB_BYTES``.
    """
    parts = [_HEADER.pack(BATCH_VERSION, header.l2_time_s, header.inbox_to)]
    for frame in frames:
        if len(frame.body) > MAX_BODY_BYTES:
            raise BatchFormatError("A frame's body is longer than L1 takes.")
        parts += [_FRAME.pack(len(frame.body), frame.post_root), frame.body]
    blob = b"".join(parts)
    if len(blob) > MAX_BLOB_BYTES:
        raise BatchFormatError("The batch is larger than L1 takes.")
    return blob


def decode_batch(blob: bytes) -> BatchData:
    """Read a blob, as the rollup contract frames it at submission.

    Raises:
        BatchFormatError: If it or a frame is truncated or too large, it is of another version, or has no frame.
    """
    if len(blob) > MAX_BLOB_BYTES:
        raise BatchFormatError("The batch is larger than L1 takes.")
    if len(blob) < HEADER_BYTES:
        raise BatchFormatError("The batch ends inside its header.")
    version, l2_time_s, inbox_to = _HEADER.unpack_from(blob)
    if version != BATCH_VERSION:
        raise BatchFormatError("The batch has an unknown version.")
    frames: list[Frame] = []
    offset = HEADER_BYTES
    while offset < len(blob):
        if len(blob) - offset < FRAME_HEAD_BYTES:
            raise BatchFormatError("The batch ends inside a frame's head.")
        length, post_root = _FRAME.unpack_from(blob, offset)
        offset += FRAME_HEAD_BYTES
        if length > MAX_BODY_BYTES:
            raise BatchFormatError("A frame's body is longer than L1 takes.")
        if len(blob) - offset < length:
            raise BatchFormatError("The batch ends inside a frame's body.")
        frames.append(Frame(post_root=post_root, body=blob[offset : offset + length]))
        offset += length
    if not frames:
        raise BatchFormatError("The batch has no frame.")
    return BatchData(header=BatchHeader(l2_time_s=l2_time_s, inbox_to=inbox_to), frames=tuple(frames))


def encode_inbox_body(start: int, count: int) -> bytes:
    """The body of an inbox frame."""
    return _INBOX_BODY.pack(INBOX_BODY_TAG, start, count)


def decode_inbox_body(body: bytes) -> tuple[int, int] | None:
    """``(start, count)`` of an inbox frame's body, or ``None`` where its length is wrong."""
    if len(body) != INBOX_BODY_BYTES:
        return None
    _, start, count = _INBOX_BODY.unpack(body)
    return start, count


def is_inbox_body(body: bytes) -> bool:
    """Whether a frame's body executes inbox messages."""
    return bool(body) and body[0] == INBOX_BODY_TAG
