"""Executed transactions and inbox messages, in their order."""

from __future__ import annotations

import msgspec

from chain.sequencer.store.database import SequencerDatabase, Statement, as_struct


class TxRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One executed transaction or inbox message."""

    sequence: int
    hash: bytes
    kind: str
    raw: bytes
    """A sequenced transaction's bytes; of an inbox message, whose content is on L1, the 32-byte content hash."""
    inbox_index: int | None
    code: int
    allocated: int | None
    batch_id: int


_TX_COLUMNS = ", ".join(TxRow.__struct_fields__)
_INSERT_TX = f"INSERT INTO tx ({_TX_COLUMNS}) VALUES ({', '.join('?' * len(TxRow.__struct_fields__))})"


class Txs(SequencerDatabase):
    """What was executed."""

    async def tx(self, tx_hash: bytes) -> TxRow | None:
        """The newest transaction of a hash."""
        row = await self._one(f"SELECT {_TX_COLUMNS} FROM tx WHERE hash = ? ORDER BY sequence DESC LIMIT 1", (tx_hash,))
        return as_struct(TxRow, row) if row else None

    async def batch_txs(self, batch_id: int) -> list[TxRow]:
        """The transactions of a batch in their order."""
        rows = await self._all(f"SELECT {_TX_COLUMNS} FROM tx WHERE batch_id = ? ORDER BY sequence", (batch_id,))
        return [as_struct(TxRow, row) for row in rows]

    async def opening_batch(self, channel_id: int) -> int | None:
        """The batch in which a channel was opened."""
        row = await self._one(
            "SELECT batch_id FROM tx WHERE kind = 'open_channel' AND allocated = ? AND code = 0", (channel_id,)
        )
        return int(row[0]) if row else None

    async def next_sequence(self) -> int:
        """How many transactions were ever executed."""
        row = await self._one("SELECT COALESCE(MAX(sequence) + 1, 0) FROM tx")
        return int(row[0]) if row else 0

    async def tx_count(self, from_batch: int) -> int:
        """Sequenced transactions in batches from this one on."""
        row = await self._one("SELECT COUNT(*) FROM tx WHERE batch_id >= ? AND inbox_index IS NULL", (from_batch,))
        return int(row[0]) if row else 0

    async def message_hashes(self, from_batch: int) -> list[tuple[int, bytes]]:
        """Index and content hash of every inbox message that batches from this one on executed."""
        rows = await self._all(
            "SELECT inbox_index, raw FROM tx WHERE batch_id >= ? AND inbox_index IS NOT NULL ORDER BY inbox_index",
            (from_batch,),
        )
        return [(row[0], row[1]) for row in rows]


def insert_tx(row: TxRow) -> Statement:
    """The statement that keeps an executed transaction."""
    return _INSERT_TX, msgspec.structs.astuple(row)
