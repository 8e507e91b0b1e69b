"""The state after the last final batch: what withdrawals and exits are proven against."""

from __future__ import annotations

from chain.errors import IdlewattError
from chain.sequencer.store import (
    SequencerStore,
    Statement,
    finalize_leaves,
    insert_event,
    put_final_leaf,
    read_leaf,
    set_metadata,
)
from chain.state import RollupState
from chain.types import META_KEY, Meta


class FinalState:
    """A second state tree that follows finality, batch by batch, from the leaves each batch wrote.

    Args:
        state: The state after the last final batch.
        count: How many batches are final.
    """

    def __init__(self, state: RollupState, count: int) -> None:
        self.state = state
        self.count = count
        """How many batches are final."""

    @classmethod
    async def load(cls, store: SequencerStore) -> FinalState:
        """Read it from the database, which gets the genesis state if it has none."""
        fact = await store.metadata("final_count")
        if fact is None:
            await store.commit([put_final_leaf(META_KEY, Meta().encode()), set_metadata("final_count", bytes(8))])
        leaves = [(key, read_leaf(data)) for key, data in await store.final_leaves()]
        return cls(RollupState.from_leaves(leaves), int.from_bytes(fact or b"", "big"))

    async def advance(self, store: SequencerStore, count: int, at_s: int) -> None:
        """Take in every batch below ``count``, durable batch by batch.

        Args:
            store: The database.
            count: How many batches are final on L1.
            at_s: L1's time now, for the event.

        Raises:
            IdlewattError: If a batch's leaves don't lead to the root it posted.
        """
        while self.count < count:
            batch_id = self.count
            row = await store.batch(batch_id)
            if row is None or row.post_root is None:
                return
            leaves = await store.batch_leaves(batch_id, batch_id + 1)
            # Tried and rolled back: nobody may see the new state with the old count while the disk writes.
            mark = self.state.mark()
            self._write(leaves)
            root = self.state.root()
            self.state.rollback(mark)
            if root != row.post_root:
                raise IdlewattError(
                    f"The kept leaves of batch {batch_id} don't lead to its root.",
                    code="sequencer_storage",
                    fix="Move the sequencer's database away; it is rebuilt from L1.",
                )
            change: list[Statement] = finalize_leaves(batch_id)
            change += insert_event("final", at_s, f"Batch {batch_id} is final.", "0x" + (row.l1_tx or b"").hex())
            await store.commit(change)
            self._write(leaves)
            self.state.settle()
            self.count = batch_id + 1

    def _write(self, leaves: list[tuple[int, bytes | None]]) -> None:
        for key, data in leaves:
            self.state.write(key, read_leaf(data) if data is not None else None)
