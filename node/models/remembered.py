"""Small JSON files that remember what was costly to find out; without one, the work is done again."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

MAX_FILE_BYTES: Final = 1 << 20
EntryT = TypeVar("EntryT")


def read_remembered(path: Path, entry: type[EntryT]) -> dict[str, EntryT]:
    """What the file holds; nothing where it can't be read, is too large, or holds anything else.

    Args:
        path: The file.
        entry: What each of its values is.
    """
    try:
        status = path.stat()
        # Asked before it is opened: to open a pipe waits until somebody writes into it.
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, entry])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def write_remembered(path: Path, entries: Mapping[str, object]) -> None:
    """Put a new version in the file's place, whole; where it can't be written, the old one stays."""
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(dict(entries))))
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # a disk that is read-only refuses this too
            beside.unlink(missing_ok=True)
