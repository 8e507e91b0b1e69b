"""Batches and their frames, from the first transaction to where L1 has them."""

from __future__ import annotations

import msgspec

from chain.l1.protocol import EMPTY_INBOX_HASH
from chain.sequencer.store.database import SequencerDatabase, Statement, as_struct


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch: open while it has no blob, sealed with one, posted once it has an L1 transaction."""

    batch_id: int
    l2_time_s: int
    inbox_from: int
    inbox_to: int
    inbox_hash: bytes
    prev_root: bytes
    post_root: bytes | None
    blob: bytes | None
    tx_count: int
    frame_count: int
    size_bytes: int
    l1_tx: bytes | None
    l1_block: int | None
    submitted_at_s: int | None


_BATCH_COLUMNS = ", ".join(BatchRow.__struct_fields__)
_BATCH_HEAD_COLUMNS = _BATCH_COLUMNS.replace("blob", "NULL")


class Batches(SequencerDatabase):
    """Batches, and the roots after their frames."""

    async def batch(self, batch_id: int, *, with_blob: bool = False) -> BatchRow | None:
        """One batch; its blob only where asked for."""
        columns = _BATCH_COLUMNS if with_blob else _BATCH_HEAD_COLUMNS
        row = await self._one(f"SELECT {columns} FROM batch WHERE batch_id = ?", (batch_id,))
        return as_struct(BatchRow, row) if row else None

    async def batches(self, limit: int) -> list[BatchRow]:
        """The newest posted batches, newest first, without blobs."""
        rows = await self._all(
            f"SELECT {_BATCH_HEAD_COLUMNS} FROM batch WHERE l1_tx IS NOT NULL ORDER BY batch_id DESC LIMIT ?",
            (limit,),
        )
        return [as_struct(BatchRow, row) for row in rows]

    async def inbox_hash(self) -> bytes:
        """The inbox's hash after the last message that the newest batch executes, open or not."""
        row = await self._one("SELECT inbox_hash FROM batch ORDER BY batch_id DESC LIMIT 1")
        return bytes(row[0]) if row else EMPTY_INBOX_HASH

    async def open_batch(self) -> BatchRow | None:
        """The batch that is still filling, if one is."""
        row = await self._one(f"SELECT {_BATCH_COLUMNS} FROM batch WHERE blob IS NULL")
        return as_struct(BatchRow, row) if row else None

    async def first_unposted(self) -> BatchRow | None:
        """The oldest sealed batch that L1 isn't known to have, with its blob."""
        row = await self._one(
            f"SELECT {_BATCH_COLUMNS} FROM batch WHERE blob IS NOT NULL AND l1_tx IS NULL ORDER BY batch_id LIMIT 1"
        )
        return as_struct(BatchRow, row) if row else None

    async def batch_count(self) -> int:
        """One past the newest batch, open, sealed or posted."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch")
        return int(row[0]) if row else 0

    async def sealed_count(self) -> int:
        """One past the newest batch that is sealed."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch WHERE blob IS NOT NULL")
        return int(row[0]) if row else 0

    async def posted_count(self) -> int:
        """One past the newest batch that is known to stand on L1."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch WHERE l1_tx IS NOT NULL")
        return int(row[0]) if row else 0

    async def unposted_items(self) -> int:
        """Items in batches that are sealed but not known to stand on L1."""
        row = await self._one("SELECT COALESCE(SUM(tx_count), 0) FROM batch WHERE blob IS NOT NULL AND l1_tx IS NULL")
        return int(row[0]) if row else 0

    async def frame_roots(self, batch_id: int) -> list[bytes]:
        """The state roots after the closed frames of a batch."""
        return [
            row[0]
            for row in await self._all("SELECT post_root FROM frame WHERE batch_id = ? ORDER BY number", (batch_id,))
        ]


def insert_batch(batch_id: int, l2_time_s: int, inbox_from: int, inbox_hash: bytes, prev_root: bytes) -> Statement:
    """The statement that opens a batch, which executes no inbox message yet."""
    return (
        "INSERT INTO batch (batch_id, l2_time_s, inbox_from, inbox_to, inbox_hash, prev_root)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (batch_id, l2_time_s, inbox_from, inbox_from, inbox_hash, prev_root),
    )


def widen_batch(batch_id: int, inbox_to: int, inbox_hash: bytes) -> Statement:
    """The statement that moves the end of the inbox messages in a batch that is still open."""
    return "UPDATE batch SET inbox_to = ?, inbox_hash = ? WHERE batch_id = ?", (inbox_to, inbox_hash, batch_id)


def seal_batch(batch_id: int, blob: bytes, post_root: bytes, tx_count: int, frame_count: int) -> Statement:
    """The statement that gives a batch its blob.

    Args:
        batch_id: The batch.
        blob: Its bytes as L1 gets them.
        post_root: The state root after it.
        tx_count: Transactions and inbox messages in it.
        frame_count: Frames in it.
    """
    return (
        "UPDATE batch SET blob = ?, post_root = ?, tx_count = ?, frame_count = ?, size_bytes = ? WHERE batch_id = ?",
        (blob, post_root, tx_count, frame_count, len(blob), batch_id),
    )


def mark_posted(batch_id: int, l1_tx: bytes, l1_block: int, submitted_at_s: int) -> Statement:
    """The statement that records where a batch stands on L1."""
    return (
        "UPDATE batch SET l1_tx = ?, l1_block = ?, submitted_at_s = ? WHERE batch_id = ?",
        (l1_tx, l1_block, submitted_at_s, batch_id),
    )


def mark_unposted(from_batch: int) -> Statement:
    """The statement that forgets where batches stood which L1 no longer has."""
    return (
        "UPDATE batch SET l1_tx = NULL, l1_block = NULL, submitted_at_s = NULL WHERE batch_id >= ?",
        (from_batch,),
    )


def insert_frame(batch_id: int, number: int, post_root: bytes) -> Statement:
    """The statement that keeps the root after a closed frame."""
    return "INSERT INTO frame (batch_id, number, post_root) VALUES (?, ?, ?)", (batch_id, number, post_root)
