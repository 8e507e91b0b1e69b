"""The embedded chain's disk: a key-value store for py-evm and an index of logs, committed together, once a block.

SQLite in WAL mode with ``synchronous=FULL``: what a commit returned for survives ``kill -9`` and a power cut, and what
was not committed never happened. All of it is used from one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from eth.abc import AtomicWriteBatchAPI
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from chain.errors import IdlewattError
from chain.file_systems import sqlite_locking

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE logs (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL, tx_hash BLOB NOT NULL, address BLOB NOT NULL,
    topics BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (block, log_index)
) WITHOUT ROWID;
CREATE INDEX logs_by_address ON logs (address, block, log_index);
"""


class LogRow(msgspec.Struct, frozen=True):
    """One log of the canonical chain; every block holds at most one transaction, whose index is 0."""

    block: int
    log_index: int
    tx_hash: bytes
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class DurableStore(BaseAtomicDB):  # type: ignore[misc]  # py-evm is untyped to us
    """py-evm's database on SQLite: writes collect in memory until `commit`, and `rollback` forgets them.

    Raises:
        IdlewattError: If the file is not such a store, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._pending: dict[bytes, bytes | None] = {}
        self._pending_logs: list[LogRow] = []
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute(f"PRAGMA locking_mode={sqlite_locking(path)}")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
            elif version != _SCHEMA_VERSION:
                raise IdlewattError(
                    "The devnet's L1 was written by another version of Idlewatt.",
                    code="devnet_version",
                    fix=f"Move {path.parent} away to start a new devnet.",
                )
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise IdlewattError(
                f"The devnet's L1 can't be read: {error}.",
                code="devnet_damaged",
                fix=f"Move {path.parent} away to start a new devnet.",
            ) from error
        except BaseException:
            self._db.close()
            raise

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._pending:
            value = self._pending[key]
        else:
            row = self._db.execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
            value = None if row is None else row[0]
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._pending[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._pending[key] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """A view whose writes reach the pending ones together, or not at all."""
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:
            yield batch

    def add_logs(self, rows: Iterable[LogRow]) -> None:
        """Index a new block's logs, from the next commit on."""
        self._pending_logs.extend(rows)

    def commit(self) -> None:
        """Write everything pending in one durable transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO pairs VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [(key, value) for key, value in self._pending.items() if value is not None],
            )
            self._db.executemany(
                "DELETE FROM pairs WHERE key = ?", [(key,) for key, value in self._pending.items() if value is None]
            )
            self._db.executemany(
                "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (row.block, row.log_index, row.tx_hash, row.address, b"".join(row.topics), row.data)
                    for row in self._pending_logs
                ],
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.rollback()

    def rollback(self) -> None:
        """Forget everything pending."""
        self._pending.clear()
        self._pending_logs.clear()

    def logs(self, from_block: int, to_block: int, addresses: Sequence[bytes], limit: int) -> list[LogRow]:
        """The first ``limit`` committed logs of these blocks, by any of these addresses, or by all if none is given."""
        where = f" AND address IN ({','.join('?' * len(addresses))})" if addresses else ""
        rows = self._db.execute(
            "SELECT block, log_index, tx_hash, address, topics, data FROM logs WHERE block BETWEEN ? AND ?"
            f"{where} ORDER BY block, log_index LIMIT ?",
            (from_block, to_block, *addresses, limit),
        )
        return [
            LogRow(block, index, tx_hash, address, tuple(topics[i : i + 32] for i in range(0, len(topics), 32)), data)
            for block, index, tx_hash, address, topics, data in rows
        ]

    def close(self) -> None:
        """Let go of the file; whatever is pending is forgotten."""
        self.rollback()
        self._db.close()
