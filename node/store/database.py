"""The SQLite connection: opening, migrations, and transactions that are atomic, durable and safe to cancel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from chain.file_systems import MOUNTS, NO_LINKS, sqlite_locking
from node.store.migrations import LATEST, MIGRATIONS
from node.store.sqlite_errors import StoreError, path_error, store_error

Result = TypeVar("Result")
Row = tuple[Any, ...]

APPLICATION_ID = 0x49574154
"""``IWAT`` in the file's header tells our database from another program's."""

BUSY_TIMEOUT_MS = 5_000
MAX_INTEGER = 2**63 - 1
"""The largest SQLite integer."""

_WAL_RETRY_S = 0.01

_FULL_CHECK_BELOW_BYTES = 64 * 1024 * 1024
"""Smaller files are checked completely when they are opened, which takes well under a second."""


class Database:
    """One connection in WAL mode with ``synchronous=FULL``: when a write returns, it is on disk.

    Made by :meth:`open`.
    """

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, mounts: Path = MOUNTS) -> Database:
        """Open or create the file (0600, its folder 0700) and bring its schema up to date.

        Args:
            path: The file.
            mounts: What is mounted where, from which the kind of its disk is read.

        Raises:
            StoreError: ``store_corrupt``, ``store_foreign``, ``store_newer``, ``store_locked``, ``store_unwritable`` or
                ``disk_full``.
        """
        try:
            size_bytes = await asyncio.to_thread(_prepare_file, path)
        except OSError as error:
            raise path_error(error, path) from None
        try:
            connection = await aiosqlite.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise store_error(error, path) from None
        database = cls(connection, path)
        try:
            locking = await asyncio.to_thread(sqlite_locking, path, mounts)
            await database._configure(locking, check_all=size_bytes < _FULL_CHECK_BELOW_BYTES)
            await database._migrate()
        except sqlite3.Error as error:
            await connection.close()
            raise store_error(error, path) from None
        except BaseException:
            await connection.close()
            raise
        return database

    async def close(self) -> None:
        """Wait for running writes, then close; calling it twice does nothing."""
        if self._closed:
            return
        self._closed = True
        while self._writes:
            await asyncio.wait(self._writes)
        async with self._lock:
            await self._connection.close()

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Read committed rows.

        Raises:
            StoreError: If the database failed.
        """
        try:
            async with self._lock:
                # It may have been closed while this waited for the lock.
                self._check_open()
                return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]
        except sqlite3.Error as error:
            raise store_error(error, self._path) from None

    async def write(self, work: Callable[[aiosqlite.Connection], Awaitable[Result]]) -> Result:
        """Run ``work`` in one transaction. It is durable when this returns, and undone when it raises.

        A cancelled caller still waits until the transaction has ended: all of it is written, or nothing.

        Raises:
            StoreError: If the database failed, or whatever ``work`` raised.
        """
        return await self._run_to_completion(self._transaction(work))

    async def write_statement(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Run one statement as a transaction of its own, like :meth:`write`; returns the rows of its result.

        A transaction of several statements switches to the connection's thread for each one, which takes long while an
        engine uses every core.

        Raises:
            StoreError: If the database failed.
        """
        return await self._run_to_completion(self._statement(sql, parameters))

    async def _run_to_completion(self, write: Coroutine[Any, Any, Result]) -> Result:
        try:
            self._check_open()
        except StoreError:
            write.close()
            raise
        task = asyncio.create_task(write, name="store-write")
        self._writes.add(task)
        task.add_done_callback(self._forget_write)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def _statement(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        try:
            async with self._lock:
                return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]
        except sqlite3.Error as error:
            raise store_error(error, self._path) from None
        except OverflowError:
            raise StoreError("A number is too large for the database.", code="bad_record") from None

    async def _transaction(self, work: Callable[[aiosqlite.Connection], Awaitable[Result]]) -> Result:
        try:
            async with self._lock:
                await self._connection.execute("BEGIN IMMEDIATE")
                try:
                    result = await work(self._connection)
                    await self._connection.execute("COMMIT")
                except BaseException:
                    # It fails only when no transaction is open: SQLite has rolled back, or the commit succeeded.
                    with contextlib.suppress(sqlite3.OperationalError):
                        await self._connection.execute("ROLLBACK")
                    raise
                return result
        except sqlite3.Error as error:
            raise store_error(error, self._path) from None
        except OverflowError:
            raise StoreError("A number is too large for the database.", code="bad_record") from None

    def _forget_write(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            # Marks the exception as retrieved, since a cancelled caller doesn't.
            task.exception()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("The database is closed.", code="store_closed")

    async def _configure(self, locking: str, *, check_all: bool) -> None:
        await self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        # Before anything of the file is read: else SQLite would already share memory for it.
        await self._connection.execute(f"PRAGMA locking_mode = {locking}")
        await self._enter_wal_mode()
        await self._connection.execute("PRAGMA synchronous = FULL")
        await self._connection.execute("PRAGMA foreign_keys = ON")
        await self._connection.execute("PRAGMA trusted_schema = OFF")
        if check_all and (await self._value("PRAGMA quick_check(1)")) != "ok":
            raise StoreError(
                "The database is damaged.",
                code="store_corrupt",
                fix=f"Put a backup in the place of {self._path}, or move it away: the chain still has the channels.",
            )

    async def _enter_wal_mode(self) -> None:
        # While another connection does the same with a new file, SQLite refuses at once, without its busy timeout.
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1_000
        while True:
            try:
                await self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_WAL_RETRY_S)

    async def _migrate(self) -> None:
        # The order matters: between these reads another process may commit the first schema and its application id.
        is_empty = int(await self._value("SELECT count(*) FROM sqlite_schema")) == 0
        application_id = int(await self._value("PRAGMA application_id"))
        version = int(await self._value("PRAGMA user_version"))
        if not is_empty and application_id != APPLICATION_ID:
            raise StoreError(
                "That file is another program's database.", code="store_foreign", fix=f"Move {self._path} away."
            )
        if version > LATEST:
            raise StoreError(
                "The database was written by a newer Idlewatt.", code="store_newer", fix="Update this installation."
            )
        for target, statements in MIGRATIONS:
            if target > version:
                await self._apply(target, statements)

    async def _apply(self, target: int, statements: tuple[str, ...]) -> None:
        await self._connection.execute("BEGIN IMMEDIATE")
        # A second process may have migrated while this one waited for the lock.
        if int(await self._value("PRAGMA user_version")) < target:
            for statement in statements:
                await self._connection.execute(statement)
            await self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            await self._connection.execute(f"PRAGMA user_version = {target}")
        await self._connection.execute("COMMIT")

    async def _value(self, sql: str) -> Any:
        rows = list(await self._connection.execute_fetchall(sql))
        return rows[0][0]


def _prepare_file(path: Path) -> int:
    """Make the folder and an empty private file if there is none (SQLite would use the umask).

    An existing file is not opened here: closing it would drop every POSIX lock that this process has on it through
    SQLite (https://www.sqlite.org/howtocorrupt.html, section 2.2).

    Returns:
        The file's size in bytes.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        os.close(descriptor)
        try:
            with contextlib.suppress(FileExistsError):
                try:
                    os.link(name, path)
                except OSError as error:
                    if error.errno not in NO_LINKS:
                        raise
                    # Some file systems have no links. Whoever opens the empty file meanwhile gets a database too.
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        finally:
            Path(name).unlink()
    return path.stat().st_size
