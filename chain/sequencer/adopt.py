"""Taking in batches that stand on L1 and aren't in the database: after its loss, or after another sequencer's work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.codec import is_inbox_body
from chain.replay import ReplayedBatch, Replayer, replay_l1
from chain.sequencer.poster import DivergedError
from chain.sequencer.store import insert_event, mark_posted
from chain.state import State
from chain.txs import TX_SIZES

if TYPE_CHECKING:
    from chain.sequencer.sequencer import Sequencer


async def adopt_batches(sequencer: Sequencer) -> None:
    """Execute every batch that L1 has beyond the database's, verifying each before building on it.

    Raises:
        DivergedError: If the database holds acknowledged transactions that those batches leave out.
        ReplayError: If a batch on L1 is wrong.
        ChainUnavailableError: If L1 does not answer.
    """
    head = sequencer.head
    known = await sequencer.store.batch_count()
    if await sequencer.l1.batch_count() <= known:
        return
    if head.open is not None:
        raise DivergedError("L1 holds newer batches than this sequencer's, which has unposted transactions.")
    if known:
        await sequencer.poster.compare(known - 1)
    shadow = Replayer(sequencer.rules, state=State.from_leaves(head.state.items()), next_batch=known)
    async for verified in replay_l1(sequencer.l1, replayer=shadow):
        _record(sequencer, verified)
        posted = verified.posted
        text = f"Batch {posted.batch_id} adopted from L1."
        await sequencer.store.commit(
            [
                *head.drain(),
                mark_posted(posted.batch_id, posted.l1_tx, posted.l1_block, posted.submitted_at_s),
                *insert_event("batch", posted.submitted_at_s, text, "0x" + posted.l1_tx.hex()),
            ]
        )


def _record(sequencer: Sequencer, verified: ReplayedBatch) -> None:
    head, at_s = sequencer.head, verified.batch.header.l2_time_s
    for message in verified.messages:
        head.execute_message(message, at_s)
    for frame in verified.batch.frames:
        if is_inbox_body(frame.body):
            continue
        offset = 0
        while offset < len(frame.body):
            size = TX_SIZES[frame.body[offset]]
            head.execute(frame.body[offset : offset + size], at_s)
            offset += size
    assert head.state.root() == verified.posted.post_root
    head.seal(verified.posted.blob)
