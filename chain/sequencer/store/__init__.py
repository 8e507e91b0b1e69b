"""What the sequencer keeps on disk: SQLite in WAL mode, synchronous FULL, one connection, one writer.

A *change* is a list of statements that become durable together or not at all; nothing is acknowledged before its
change is. Each kind of record has a file: its rows, how they are read, and the statements that change them.
"""

from __future__ import annotations

from chain.sequencer.store.batches import (
    Batches,
    BatchRow,
    insert_batch,
    insert_frame,
    mark_posted,
    mark_unposted,
    seal_batch,
    widen_batch,
)
from chain.sequencer.store.database import SequencerStoreError, Statement
from chain.sequencer.store.events import EventRow, Events, insert_event
from chain.sequencer.store.leaves import Leaves, finalize_leaves, put_final_leaf, read_leaf, write_leaf
from chain.sequencer.store.metadata import Metadata, set_metadata
from chain.sequencer.store.redeems import RedeemsLeft, drop_redeems_left, set_redeems_left
from chain.sequencer.store.set_aside import SetAside, drop_set_aside, set_aside_from
from chain.sequencer.store.txs import TxRow, Txs, insert_tx
from chain.sequencer.store.withdrawals import WithdrawalRow, Withdrawals, insert_withdrawal, mark_claimed

__all__ = [
    "BatchRow",
    "EventRow",
    "SequencerStore",
    "SequencerStoreError",
    "Statement",
    "TxRow",
    "WithdrawalRow",
    "drop_redeems_left",
    "drop_set_aside",
    "finalize_leaves",
    "insert_batch",
    "insert_event",
    "insert_frame",
    "insert_tx",
    "insert_withdrawal",
    "mark_claimed",
    "mark_posted",
    "mark_unposted",
    "put_final_leaf",
    "read_leaf",
    "seal_batch",
    "set_aside_from",
    "set_metadata",
    "set_redeems_left",
    "widen_batch",
    "write_leaf",
]


class SequencerStore(Txs, Batches, Leaves, Withdrawals, SetAside, RedeemsLeft, Events, Metadata):
    """The sequencer's database."""
