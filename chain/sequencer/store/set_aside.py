"""Acknowledged transactions of batches that L1 replaced by others, until they are executed again."""

from __future__ import annotations

from chain.sequencer.store.database import SequencerDatabase, Statement


class SetAside(SequencerDatabase):
    """Transactions that wait to be executed again."""

    async def set_aside(self, limit: int) -> list[tuple[int, bytes]]:
        """Position and bytes of the oldest transactions that wait to be executed again."""
        rows = await self._all("SELECT position, raw FROM set_aside ORDER BY position LIMIT ?", (limit,))
        return [(row[0], row[1]) for row in rows]

    async def set_aside_count(self) -> int:
        """How many transactions wait to be executed again."""
        row = await self._one("SELECT COUNT(*) FROM set_aside")
        return int(row[0]) if row else 0

    async def set_aside_kind(self, tx_hash: bytes) -> str | None:
        """The kind of a transaction that waits to be executed again."""
        row = await self._one("SELECT kind FROM set_aside WHERE hash = ?", (tx_hash,))
        return row[0] if row else None


def set_aside_from(batch_id: int) -> list[Statement]:
    """The statements that take back every batch from this one on, and keep its transactions to execute them again."""
    later = (batch_id,)
    return [
        (
            "INSERT INTO set_aside (hash, kind, raw) SELECT hash, kind, raw FROM tx"
            " WHERE batch_id >= ? AND inbox_index IS NULL ORDER BY sequence",
            later,
        ),
        ("DELETE FROM withdrawal WHERE batch_id >= ?", later),
        ("DELETE FROM tx WHERE batch_id >= ?", later),
        ("DELETE FROM frame WHERE batch_id >= ?", later),
        ("DELETE FROM batch_leaf WHERE batch_id >= ?", later),
        ("DELETE FROM batch WHERE batch_id >= ?", later),
    ]


def drop_set_aside(position: int) -> Statement:
    """The statement that forgets a transaction which was executed again, or can't be."""
    return "DELETE FROM set_aside WHERE position = ?", (position,)
