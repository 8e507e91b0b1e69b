"""A new sequencer's database filled with a final state from a snapshot, instead of by every batch since the first."""

from __future__ import annotations

from chain.codec import decode_batch
from chain.l1.protocol import RollupL1
from chain.logs import get_logger
from chain.replay import Replayer
from chain.sequencer.store import (
    SequencerStore,
    Statement,
    insert_batch,
    insert_event,
    mark_posted,
    put_final_leaf,
    seal_batch,
    set_metadata,
)
from chain.snapshot_source import start_from

log = get_logger(__name__)


async def seed(store: SequencerStore, l1: RollupL1, place: str) -> None:
    """Begin a database with a snapshot; one that was begun already, or a snapshot that is no good, changes nothing.

    Args:
        store: The database, of this deployment.
        l1: The rollup's contracts, which say whether the snapshot is right.
        place: A file or a URL.

    Raises:
        ChainUnavailableError: If L1 does not answer.
        SequencerStoreError: If the database can't be written.
    """
    if await store.metadata("final_count") is not None:
        return
    start, text = await start_from(place, l1)
    if text:
        log.warning("snapshot_taken" if start else "snapshot_refused", why=text)
    if start is not None:
        await store.commit(await _statements(l1, start))


async def _statements(l1: RollupL1, start: Replayer) -> list[Statement]:
    """The final leaves, and the batch that they are the state after: later ones are compared with it."""
    batch_id = start.next_batch - 1
    posted = (await l1.batches(batch_id, 1))[0]
    batch = decode_batch(posted.blob)
    change: list[Statement] = [put_final_leaf(key, leaf.encode()) for key, leaf in start.state.items()]
    change += [
        set_metadata("final_count", start.next_batch.to_bytes(8, "big")),
        insert_batch(batch_id, batch.header.l2_time_s, batch.header.inbox_to, posted.inbox_hash, posted.prev_root),
        seal_batch(batch_id, posted.blob, posted.post_root, 0, len(batch.frames)),
        mark_posted(batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
    ]
    text = f"Begun with a snapshot: {start.next_batch} batches were final."
    return change + insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex())
