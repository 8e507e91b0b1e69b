"""The final state, and what each later batch made of it."""

from __future__ import annotations

from chain.sequencer.store.database import SequencerDatabase, SequencerStoreError, Statement
from chain.sequencer.store.metadata import set_metadata
from chain.types import Leaf, decode_leaf


class Leaves(SequencerDatabase):
    """Leaves of the final state, and of each batch after it."""

    async def final_leaves(self) -> list[tuple[int, bytes]]:
        """Every leaf of the state after the last final batch."""
        return [(row[0], row[1]) for row in await self._all("SELECT key, data FROM final_leaf")]

    async def batch_leaves(self, from_batch: int, to_batch: int) -> list[tuple[int, bytes | None]]:
        """What the batches of an id range (its end exclusive) wrote, in their order; ``None`` for a removed leaf."""
        rows = await self._all(
            "SELECT key, data FROM batch_leaf WHERE batch_id >= ? AND batch_id < ? ORDER BY batch_id",
            (from_batch, to_batch),
        )
        return [(row[0], row[1]) for row in rows]


def write_leaf(batch_id: int, key: int, data: bytes | None) -> Statement:
    """The statement that keeps what a batch made of a leaf."""
    return "INSERT OR REPLACE INTO batch_leaf (batch_id, key, data) VALUES (?, ?, ?)", (batch_id, key, data)


def finalize_leaves(batch_id: int) -> list[Statement]:
    """The statements that move a batch's leaves into the final state."""
    removed = "SELECT key FROM batch_leaf WHERE batch_id = ? AND data IS NULL"
    return [
        (f"DELETE FROM final_leaf WHERE key IN ({removed})", (batch_id,)),
        (
            "INSERT OR REPLACE INTO final_leaf (key, data)"
            " SELECT key, data FROM batch_leaf WHERE batch_id = ? AND data IS NOT NULL",
            (batch_id,),
        ),
        ("DELETE FROM batch_leaf WHERE batch_id = ?", (batch_id,)),
        set_metadata("final_count", (batch_id + 1).to_bytes(8, "big")),
    ]


def put_final_leaf(key: int, data: bytes) -> Statement:
    """The statement that writes a leaf of the final state itself; for the genesis state."""
    return "INSERT OR REPLACE INTO final_leaf (key, data) VALUES (?, ?)", (key, data)


def read_leaf(data: bytes) -> Leaf:
    """A leaf as this database keeps it.

    Raises:
        SequencerStoreError: If it is none of this version's.
    """
    try:
        return decode_leaf(data)
    except ValueError as error:
        raise SequencerStoreError(
            "The sequencer's database is another version's, or damaged.", fix="Move it away to rebuild it from L1."
        ) from error
