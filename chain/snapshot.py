"""A state in a file: every leaf of one, with the batch that it is the state after.

```
magic8 ‖ version1 ‖ deployment32 ‖ batchCount8 ‖ root32 ‖ metaLength1 ‖ meta ‖ 32 siblings ‖ leafCount4
( key4 ‖ length1 ‖ leaf ) for each leaf, by ascending state index
```

Nobody signs it: whoever loads one holds the root against the one that the contract keeps of that batch, and builds the
tree again. The meta leaf comes first with its proof, so that what follows is bounded by what the rollup really holds
before any of it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from chain.errors import ErrorCode, IdlewattError
from chain.signing import keccak256
from chain.state import RollupState
from chain.tree import DEPTH, root_from_proof
from chain.types import META_KEY, Account, Channel, Leaf, Meta, Region, Withdrawal, decode_leaf

MAGIC: Final = b"IDLWSNAP"
VERSION: Final = 1
MAX_LEAVES: Final = 2**24
"""More than this program could hold; see docs/performance.md for what a million take."""
CHUNK_BYTES: Final = 64 * 1024
_FIXED = struct.Struct(">8sB32sQ32sB")
_LEAF_HEAD = struct.Struct(">IB")
_PROOF_BYTES: Final = 32 * DEPTH
_META_BYTES: Final = len(Meta().encode())
HEADER_BYTES: Final = _FIXED.size + _META_BYTES + _PROOF_BYTES + 4
MAX_LEAF_BYTES: Final = 255 + _LEAF_HEAD.size


class SnapshotError(IdlewattError):
    """A snapshot that can't be used: damaged, foreign, or not what L1 says."""

    default_code: ClassVar[ErrorCode] = "bad_snapshot"


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is about."""

    deployment: bytes
    """32 bytes, as ``chain.replay.deployment_id`` has them."""
    batch_count: int
    """It is the state after this many batches; at least one."""
    root: bytes
    meta: Meta
    siblings: tuple[bytes, ...]
    """The meta leaf's way to the root."""
    leaf_count: int

    def encode(self) -> bytes:
        """Its bytes."""
        meta = self.meta.encode()
        fixed = _FIXED.pack(MAGIC, VERSION, self.deployment, self.batch_count, self.root, len(meta))
        return fixed + meta + b"".join(self.siblings) + self.leaf_count.to_bytes(4, "big")


class Snapshot:
    """One state as it is now, ready to be written while the state itself goes on.

    Args:
        deployment: Its rollup's id.
        batch_count: How many batches it is the state after.
        state: The state; copied without its leaves, which never change.
    """

    def __init__(self, deployment: bytes, batch_count: int, state: RollupState) -> None:
        self._leaves = state.items()
        self.header = SnapshotHeader(
            deployment=deployment,
            batch_count=batch_count,
            root=state.root(),
            meta=state.meta,
            siblings=tuple(state.proof(META_KEY)),
            leaf_count=len(self._leaves),
        )

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, in pieces of about 64 KiB; may run in another thread."""
        chunk = bytearray(self.header.encode())
        for key, leaf in sorted(self._leaves, key=lambda entry: entry[0]):
            data = leaf.encode()
            chunk += _LEAF_HEAD.pack(key, len(data)) + data
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        yield bytes(chunk)


class SnapshotReader:
    """Takes a snapshot's bytes piece by piece; keeps no more of them than an unfinished leaf.

    Args:
        max_leaves: More are refused before they are read.
    """

    def __init__(self, *, max_leaves: int = MAX_LEAVES) -> None:
        self._max_leaves = max_leaves
        self._rest = bytearray()
        self._leaves: list[tuple[int, Leaf]] = []
        self._last_key = -1
        self.header: SnapshotHeader | None = None
        """Known once its bytes are there; its meta leaf is proven to be of its root."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            SnapshotError: If they can't be a snapshot's.
        """
        self._rest += data
        if self.header is None:
            if len(self._rest) < HEADER_BYTES:
                if not MAGIC.startswith(self._rest[: len(MAGIC)]):
                    raise SnapshotError("This is no snapshot.")
                return
            self.header = _decode_header(bytes(self._rest[:HEADER_BYTES]), self._max_leaves)
            del self._rest[:HEADER_BYTES]
        self._take_leaves(self.header)

    def finish(self) -> RollupState:
        """The state, once all bytes were given; takes seconds for a million leaves.

        Raises:
            SnapshotError: If some are missing, or they lead to another root.
        """
        header = self.header
        if header is None or len(self._leaves) < header.leaf_count:
            raise SnapshotError("The snapshot is cut off.", fix="Get it again.")
        state = RollupState.from_leaves(self._leaves)
        self._leaves = []
        if state.root() != header.root:
            raise SnapshotError("The snapshot's leaves lead to another root than it says.")
        return state

    def _take_leaves(self, header: SnapshotHeader) -> None:
        rest, position = self._rest, 0
        while len(self._leaves) < header.leaf_count and position + _LEAF_HEAD.size <= len(rest):
            key, length = _LEAF_HEAD.unpack_from(rest, position)
            end = position + _LEAF_HEAD.size + length
            if end > len(rest):
                break
            if key <= self._last_key:
                raise SnapshotError("The snapshot's leaves are out of order, or one is there twice.")
            self._leaves.append((key, _checked_leaf(key, bytes(rest[position + _LEAF_HEAD.size : end]), header.meta)))
            self._last_key, position = key, end
        del rest[:position]
        if len(self._leaves) == header.leaf_count and rest:
            raise SnapshotError("The snapshot goes on after its end.")


def most_leaves(meta: Meta) -> int:
    """How many leaves a state with this meta leaf can have: the numbers that were allocated, and the meta leaf."""
    return meta.next_account + meta.next_channel + meta.next_withdrawal - 2


def _decode_header(data: bytes, max_leaves: int) -> SnapshotHeader:
    magic, version, deployment, batch_count, root, meta_bytes = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise SnapshotError("This is no snapshot.")
    if version != VERSION or meta_bytes != _META_BYTES:
        raise SnapshotError("The snapshot is of another version.", fix="Get one that this version wrote.")
    meta_end = _FIXED.size + _META_BYTES
    encoded, proof = data[_FIXED.size : meta_end], data[meta_end : meta_end + _PROOF_BYTES]
    siblings = tuple(proof[start : start + 32] for start in range(0, _PROOF_BYTES, 32))
    meta = _leaf(encoded)
    if not isinstance(meta, Meta) or root_from_proof(META_KEY, keccak256(encoded), siblings) != root:
        raise SnapshotError("The snapshot's meta leaf doesn't lead to its root.")
    leaf_count = int.from_bytes(data[-4:], "big")
    if not batch_count or not 0 < leaf_count <= min(max_leaves, most_leaves(meta)):
        raise SnapshotError("The snapshot has more leaves than its state can have.")
    return SnapshotHeader(
        deployment=deployment, batch_count=batch_count, root=root, meta=meta, siblings=siblings, leaf_count=leaf_count
    )


def _checked_leaf(key: int, data: bytes, meta: Meta) -> Leaf:
    """A leaf that may be at this place: of its region's kind, and of a number that was allocated."""
    leaf, number = _leaf(data), key & (1 << 30) - 1
    places: dict[type, tuple[Region, int]] = {
        Account: (Region.ACCOUNT, meta.next_account),
        Channel: (Region.CHANNEL, meta.next_channel),
        Withdrawal: (Region.WITHDRAWAL, meta.next_withdrawal),
        Meta: (Region.META, 1),
    }
    region, following = places[type(leaf)]
    if key >> 30 != region or number >= following:
        raise SnapshotError("The snapshot has a leaf where none of its kind can be.")
    return leaf


def _leaf(data: bytes) -> Leaf:
    try:
        return decode_leaf(data)
    except ValueError as error:
        raise SnapshotError("The snapshot has bytes that are no leaf.") from error
