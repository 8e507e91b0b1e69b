"""The connection to the sequencer's database: opening, migrating, changes that are durable as a whole, reading rows."""

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

from chain.errors import IdlewattError
from chain.file_systems import sqlite_locking
from chain.sequencer.store.schema import MIGRATIONS

Statement = tuple[str, tuple[Any, ...]]


class SequencerStoreError(IdlewattError):
    """The sequencer's database could not be read or written."""

    default_code = "sequencer_storage"


class SequencerDatabase:
    """One connection, one writer; what the store keeps is read and written over it."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._db = connection
        self._changing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the database and bring its schema up to date.

        Raises:
            SequencerStoreError: If it can't be opened, or was written by a newer version.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            connection = await aiosqlite.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise SequencerStoreError(f"The sequencer's database can't be opened ({error}).") from error
        try:
            locking = f"locking_mode = {await asyncio.to_thread(sqlite_locking, path)}"
            for pragma in (
                locking,
                "journal_mode = WAL",
                "synchronous = FULL",
                "foreign_keys = ON",
                "busy_timeout = 5000",
            ):
                await connection.execute(f"PRAGMA {pragma}")
            await _migrate(connection)
        except BaseException as error:
            await connection.close()
            if isinstance(error, sqlite3.Error):
                raise SequencerStoreError(
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
            SequencerStoreError: If the disk refused it; nothing of it is kept then.
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
                raise SequencerStoreError(
                    f"The sequencer could not write its database ({error}).", fix="Free disk space, then try again."
                ) from error

    async def _roll_back(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                await self._db.execute("ROLLBACK")

    async def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        try:
            return list(await self._db.execute_fetchall(sql, values))
        except sqlite3.Error as error:
            raise SequencerStoreError(f"The sequencer's database can't be read ({error}).") from error

    async def _one(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Row | None:
        rows = await self._all(sql, values)
        return rows[0] if rows else None


def as_struct(kind: type[Any], row: sqlite3.Row) -> Any:
    """A row as the value that has its columns as fields."""
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


async def _migrate(connection: aiosqlite.Connection) -> None:
    row = next(iter(await connection.execute_fetchall("PRAGMA user_version")))
    version = int(row[0])
    if version > len(MIGRATIONS):
        raise SequencerStoreError("The sequencer's database is newer than this program.", fix="Update Idlewatt.")
    for number in range(version, len(MIGRATIONS)):
        await connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
        )
