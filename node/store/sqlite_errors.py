"""Coded errors, with what to do about them, for the ways in which SQLite and the file system fail."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from chain.errors import ErrorCode, IdlewattError


class StoreError(IdlewattError):
    """The node's database refused or failed."""

    default_code = "store_failed"


_ELSEWHERE = "Move the home to a disk of this machine: {path}."
_NO_LOCKS: tuple[ErrorCode, str, str] = ("store_unwritable", "The database's disk can't lock files.", _ELSEWHERE)
_BY_EXTENDED_CODE = dict.fromkeys(
    (
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMLOCK,
    ),
    _NO_LOCKS,
)
"""What SQLite says where a file system, mostly a network's, lacks what it needs."""
_BY_PRIMARY_CODE: dict[int, tuple[ErrorCode, str, str]] = {
    sqlite3.SQLITE_FULL: ("disk_full", "The disk is full.", "Free some space on the disk that holds {path}."),
    sqlite3.SQLITE_BUSY: ("store_locked", "Another program is using the database.", "End what else has {path} open."),
    sqlite3.SQLITE_LOCKED: ("store_locked", "Another program is using the database.", "End what else has {path} open."),
    sqlite3.SQLITE_CORRUPT: (
        "store_corrupt",
        "The database is damaged.",
        "Put a backup in the place of {path}, or move it away: the chain still has the channels.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "store_corrupt",
        "The database file is not a database.",
        "Put a backup in the place of {path}, or move it away: the chain still has the channels.",
    ),
    sqlite3.SQLITE_READONLY: ("store_unwritable", "The database can't be written.", "Check who owns {path}."),
    sqlite3.SQLITE_CANTOPEN: ("store_unwritable", "The database can't be opened.", "Check who owns {path}."),
    sqlite3.SQLITE_PERM: ("store_unwritable", "The database can't be opened.", "Check who owns {path}."),
    sqlite3.SQLITE_IOERR: ("store_unwritable", "The disk failed under the database.", "Check the disk of {path}."),
    sqlite3.SQLITE_PROTOCOL: _NO_LOCKS,
    sqlite3.SQLITE_NOLFS: ("store_unwritable", "The disk takes no file as large as the database.", _ELSEWHERE),
    sqlite3.SQLITE_CONSTRAINT: ("bad_record", "The database refused a record that breaks its rules.", ""),
}


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The coded error for an exception of SQLite. SQLite's own text is left out, since it may quote values.

    Args:
        error: What SQLite raised.
        path: The database's file, for the fix.
    """
    extended_code = getattr(error, "sqlite_errorcode", 0)
    primary_code = extended_code & 0xFF
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError("The database is closed.", code="store_closed")
    unknown: tuple[ErrorCode, str, str] = (
        "store_failed",
        f"The database failed ({type(error).__name__} {primary_code}).",
        "",
    )
    code, message, fix = _BY_EXTENDED_CODE.get(extended_code) or _BY_PRIMARY_CODE.get(primary_code, unknown)
    return StoreError(message, code=code, fix=fix.format(path=path))


def path_error(error: OSError, path: Path) -> StoreError:
    """The coded error for a database file or folder that could not be made.

    Args:
        error: What the operating system raised.
        path: The database's file, for the fix.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError("The disk is full.", code="disk_full", fix=f"Free some space on the disk that holds {path}.")
    return StoreError(
        f"The database can't be opened ({error.strerror or type(error).__name__}).",
        code="store_unwritable",
        fix=f"Check who owns {path}.",
    )
