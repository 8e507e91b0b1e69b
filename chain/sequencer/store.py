"""What the sequencer keeps on disk: SQLite in WAL mode, synchronous FULL, one connection, one writer.

A *change* is a list of statements that become durable together or not at all; nothing is acknowledged before its
change is.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import aiosqlite
import msgspec

from chain.errors import IdlewattError
from chain.sequencer.schema import MIGRATIONS
from chain.types import Leaf, decode_leaf

Statement = tuple[str, tuple[Any, ...]]

MAX_EVENTS = 2_000


class StoreError(IdlewattError):
    """The sequencer's database could not be read or written."""

    default_code = "sequencer_storage"


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


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch: open while it has no blob, sealed with one, posted once it has an L1 transaction."""

    batch_id: int
    l2_time_s: int
    inbox_from: int
    inbox_to: int
    prev_root: bytes
    post_root: bytes | None
    blob: bytes | None
    tx_count: int
    frame_count: int
    size_bytes: int
    l1_tx: bytes | None
    l1_block: int | None
    submitted_at_s: int | None


class WithdrawalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One withdrawal and its payment."""

    number: int
    recipient: bytes
    amount_nano: int
    l2_tx: bytes
    batch_id: int
    claim_l1_tx: bytes | None


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the chain's history."""

    kind: str
    at_s: int
    text: str
    reference: str


_TX_COLUMNS = ", ".join(TxRow.__struct_fields__)
_INSERT_TX = f"INSERT INTO tx ({_TX_COLUMNS}) VALUES ({', '.join('?' * len(TxRow.__struct_fields__))})"
_BATCH_COLUMNS = ", ".join(BatchRow.__struct_fields__)
_BATCH_HEAD_COLUMNS = _BATCH_COLUMNS.replace("blob", "NULL")


class Store:
    """The sequencer's database."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._db = connection
        self._changing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the database and bring its schema up to date.

        Raises:
            StoreError: If it can't be opened, or was written by a newer version.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            connection = await aiosqlite.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"The sequencer's database can't be opened ({error}).") from error
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
                await connection.execute(f"PRAGMA {pragma}")
            await _migrate(connection)
        except BaseException as error:
            await connection.close()
            if isinstance(error, sqlite3.Error):
                raise StoreError(
                    f"The sequencer's database can't be read ({error}).", fix="Move it away to rebuild it from L1."
                ) from error
            raise
        return cls(connection)

    async def close(self) -> None:
        """Let a change under way end, then close the connection and its thread."""
        async with self._changing:
            await self._db.close()

    async def commit(self, change: Sequence[Statement]) -> None:
        """Make a change durable, all of it or nothing.

        Raises:
            StoreError: If the disk refused it; nothing of it is kept then.
        """
        # Shielded, so that a cancelled caller can't leave a transaction open on the shared connection.
        await asyncio.shield(asyncio.ensure_future(self._commit(change)))

    async def _commit(self, change: Sequence[Statement]) -> None:
        async with self._changing:
            try:
                await self._db.execute("BEGIN IMMEDIATE")
                for sql, run in groupby(change, key=itemgetter(0)):
                    await self._db.executemany(sql, [values for _, values in run])
                await self._db.execute("COMMIT")
            except (sqlite3.Error, OverflowError) as error:
                await self._roll_back()
                raise StoreError(
                    f"The sequencer could not write its database ({error}).", fix="Free disk space, then try again."
                ) from error

    async def _roll_back(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                await self._db.execute("ROLLBACK")

    async def fact(self, name: str) -> bytes | None:
        """A single value kept by name."""
        row = await self._one("SELECT value FROM fact WHERE name = ?", (name,))
        return row[0] if row else None

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

    async def tx(self, tx_hash: bytes) -> TxRow | None:
        """The newest transaction of a hash."""
        row = await self._one(f"SELECT {_TX_COLUMNS} FROM tx WHERE hash = ? ORDER BY sequence DESC LIMIT 1", (tx_hash,))
        return _build(TxRow, row) if row else None

    async def batch_txs(self, batch_id: int) -> list[TxRow]:
        """The transactions of a batch in their order."""
        rows = await self._all(f"SELECT {_TX_COLUMNS} FROM tx WHERE batch_id = ? ORDER BY sequence", (batch_id,))
        return [_build(TxRow, row) for row in rows]

    async def frame_roots(self, batch_id: int) -> list[bytes]:
        """The state roots after the closed frames of a batch."""
        return [
            row[0]
            for row in await self._all("SELECT post_root FROM frame WHERE batch_id = ? ORDER BY number", (batch_id,))
        ]

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

    async def batch(self, batch_id: int, *, with_blob: bool = False) -> BatchRow | None:
        """One batch; its blob only where asked for."""
        columns = _BATCH_COLUMNS if with_blob else _BATCH_HEAD_COLUMNS
        row = await self._one(f"SELECT {columns} FROM batch WHERE batch_id = ?", (batch_id,))
        return _build(BatchRow, row) if row else None

    async def batches(self, limit: int) -> list[BatchRow]:
        """The newest posted batches, newest first, without blobs."""
        rows = await self._all(
            f"SELECT {_BATCH_HEAD_COLUMNS} FROM batch WHERE l1_tx IS NOT NULL ORDER BY batch_id DESC LIMIT ?",
            (limit,),
        )
        return [_build(BatchRow, row) for row in rows]

    async def open_batch(self) -> BatchRow | None:
        """The batch that is still filling, if one is."""
        row = await self._one(f"SELECT {_BATCH_COLUMNS} FROM batch WHERE blob IS NULL")
        return _build(BatchRow, row) if row else None

    async def first_unposted(self) -> BatchRow | None:
        """The oldest sealed batch that L1 isn't known to have, with its blob."""
        row = await self._one(
            f"SELECT {_BATCH_COLUMNS} FROM batch WHERE blob IS NOT NULL AND l1_tx IS NULL ORDER BY batch_id LIMIT 1"
        )
        return _build(BatchRow, row) if row else None

    async def batch_count(self) -> int:
        """One past the newest batch, open, sealed or posted."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch")
        return int(row[0]) if row else 0

    async def sealed_count(self) -> int:
        """One past the newest batch that is sealed."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch WHERE blob IS NOT NULL")
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

    async def unposted_items(self) -> int:
        """Items in batches that are sealed but not known to stand on L1."""
        row = await self._one("SELECT COALESCE(SUM(tx_count), 0) FROM batch WHERE blob IS NOT NULL AND l1_tx IS NULL")
        return int(row[0]) if row else 0

    async def posted_count(self) -> int:
        """One past the newest batch that is known to stand on L1."""
        row = await self._one("SELECT COALESCE(MAX(batch_id) + 1, 0) FROM batch WHERE l1_tx IS NOT NULL")
        return int(row[0]) if row else 0

    async def withdrawals_of(self, recipient: bytes, limit: int) -> list[WithdrawalRow]:
        """The newest withdrawals to an L1 address."""
        return await self._withdrawals("WHERE w.recipient = ? ORDER BY w.number DESC LIMIT ?", (recipient, limit))

    async def unclaimed(self, before_batch: int, limit: int) -> list[WithdrawalRow]:
        """Withdrawals of batches before ``before_batch`` that aren't known to be paid."""
        return await self._withdrawals(
            "WHERE w.claim_l1_tx IS NULL AND w.batch_id < ? ORDER BY w.number LIMIT ?", (before_batch, limit)
        )

    async def events(self, limit: int) -> list[EventRow]:
        """The newest events, newest first."""
        rows = await self._all("SELECT kind, at_s, text, reference FROM event ORDER BY id DESC LIMIT ?", (limit,))
        return [_build(EventRow, row) for row in rows]

    async def _withdrawals(self, where: str, values: tuple[Any, ...]) -> list[WithdrawalRow]:
        rows = await self._all(
            "SELECT w.number, w.recipient, w.amount_nano, tx.hash, w.batch_id, w.claim_l1_tx"
            f" FROM withdrawal w JOIN tx ON tx.sequence = w.sequence {where}",
            values,
        )
        return [
            WithdrawalRow(
                number=row[0],
                recipient=row[1],
                amount_nano=int.from_bytes(row[2], "big"),
                l2_tx=row[3],
                batch_id=row[4],
                claim_l1_tx=row[5],
            )
            for row in rows
        ]

    async def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        try:
            return list(await self._db.execute_fetchall(sql, values))
        except sqlite3.Error as error:
            raise StoreError(f"The sequencer's database can't be read ({error}).") from error

    async def _one(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Row | None:
        rows = await self._all(sql, values)
        return rows[0] if rows else None


def insert_tx(row: TxRow) -> Statement:
    """The statement that keeps an executed transaction."""
    return _INSERT_TX, msgspec.structs.astuple(row)


def insert_frame(batch_id: int, number: int, post_root: bytes) -> Statement:
    """The statement that keeps the root after a closed frame."""
    return "INSERT INTO frame (batch_id, number, post_root) VALUES (?, ?, ?)", (batch_id, number, post_root)


def insert_batch(batch_id: int, l2_time_s: int, inbox_from: int, inbox_to: int, prev_root: bytes) -> Statement:
    """The statement that opens a batch."""
    return (
        "INSERT INTO batch (batch_id, l2_time_s, inbox_from, inbox_to, prev_root) VALUES (?, ?, ?, ?, ?)",
        (batch_id, l2_time_s, inbox_from, inbox_to, prev_root),
    )


def widen_batch(batch_id: int, inbox_to: int) -> Statement:
    """The statement that moves the end of the inbox messages in a batch that is still open."""
    return "UPDATE batch SET inbox_to = ? WHERE batch_id = ?", (inbox_to, batch_id)


def seal_batch(batch_id: int, blob: bytes, post_root: bytes, tx_count: int, frame_count: int) -> Statement:
    """The statement that gives a batch its blob."""
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
        set_fact("final_count", (batch_id + 1).to_bytes(8, "big")),
    ]


def insert_withdrawal(number: int, recipient: bytes, amount_nano: int, sequence: int, batch_id: int) -> Statement:
    """The statement that keeps a withdrawal; amounts are u64, which SQLite's integers don't hold, and so are bytes."""
    return (
        "INSERT INTO withdrawal (number, recipient, amount_nano, sequence, batch_id) VALUES (?, ?, ?, ?, ?)",
        (number, recipient, amount_nano.to_bytes(8, "big"), sequence, batch_id),
    )


def mark_claimed(number: int, l1_tx: bytes) -> Statement:
    """The statement that records a withdrawal's payment."""
    return "UPDATE withdrawal SET claim_l1_tx = ? WHERE number = ?", (l1_tx, number)


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


def insert_event(kind: str, at_s: int, text: str, reference: str) -> list[Statement]:
    """The statements that keep an event, and no more of them than anyone reads."""
    return [
        ("INSERT INTO event (kind, at_s, text, reference) VALUES (?, ?, ?, ?)", (kind, at_s, text, reference)),
        ("DELETE FROM event WHERE id <= (SELECT MAX(id) FROM event) - ?", (MAX_EVENTS,)),
    ]


def set_fact(name: str, value: bytes) -> Statement:
    """The statement that keeps a single value by name."""
    return "INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (name, value)


def put_final_leaf(key: int, data: bytes) -> Statement:
    """The statement that writes a leaf of the final state itself; for the genesis state."""
    return "INSERT OR REPLACE INTO final_leaf (key, data) VALUES (?, ?)", (key, data)


def read_leaf(data: bytes) -> Leaf:
    """A leaf as this database keeps it.

    Raises:
        StoreError: If it is none of this version's.
    """
    try:
        return decode_leaf(data)
    except ValueError as error:
        raise StoreError(
            "The sequencer's database is another version's, or damaged.", fix="Move it away to rebuild it from L1."
        ) from error


async def _migrate(connection: aiosqlite.Connection) -> None:
    row = next(iter(await connection.execute_fetchall("PRAGMA user_version")))
    version = int(row[0])
    if version > len(MIGRATIONS):
        raise StoreError("The sequencer's database is newer than this program.", fix="Update Idlewatt.")
    for number in range(version, len(MIGRATIONS)):
        await connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
        )


def _build(kind: type[Any], row: sqlite3.Row) -> Any:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
