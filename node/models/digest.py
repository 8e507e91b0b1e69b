"""SHA-256 of model files, remembered while a file stays the same: hashing tens of gigabytes takes a minute."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from cachetools import LRUCache

from node.models.naming import part_names
from node.models.remembered import read_remembered, write_remembered

_CHUNK_BYTES = 1 << 20
MAX_ENTRIES = 256


class _Entry(msgspec.Struct, frozen=True):
    size: int
    modified_ns: int
    inode: int
    sha256: str


def sha256_file(path: Path, stop: threading.Event | None = None) -> str:
    """The file's SHA-256 in hexadecimal.

    Args:
        path: The file.
        stop: Set by another thread to give up.

    Raises:
        OSError: If it can't be read; InterruptedError once `stop` is set.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            if stop is not None and stop.is_set():
                raise InterruptedError
            digest.update(chunk)
    return digest.hexdigest()


def file_identity(model: Path) -> tuple[tuple[int, ...], ...]:
    """What changes when a model's file is replaced or written to: size, time, device and inode of each part.

    Raises:
        OSError: If a part isn't there.
    """
    found = (model.with_name(name).stat() for name in part_names(model.name))
    return tuple((status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino) for status in found)


class DigestCache:
    """Digests by path, size, modification time and inode.

    Args:
        path: A small JSON file that keeps them; without one they are kept in memory only.
        max_entries: Digests kept; those that were used longest ago are forgotten.
        read: Computes the digest of a file.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_entries: int = MAX_ENTRIES,
        read: Callable[[Path, threading.Event | None], str] = sha256_file,
    ) -> None:
        self._path = path
        self._read = read
        self._entries: LRUCache[str, _Entry] = LRUCache(max_entries)
        self._entries.update(read_remembered(path, _Entry) if path is not None else {})

    def sha256(self, model: Path, stop: threading.Event | None = None) -> str:
        """The digest of `model`, computed only if the file changed; blocks while it reads.

        A split model, named by any of its parts, has the digest of its parts' digests as text, in order.

        Raises:
            OSError: If the model can't be read; InterruptedError once `stop` is set.
        """
        names = part_names(model.name)
        if len(names) == 1:
            return self._of_file(model, stop)
        parts = "".join(self._of_file(model.with_name(name), stop) for name in names)
        return hashlib.sha256(parts.encode()).hexdigest()

    def _of_file(self, model: Path, stop: threading.Event | None) -> str:
        # A file's name need not be UTF-8, and JSON must be.
        key, status = os.fsencode(model.resolve()).decode("utf-8", "backslashreplace"), model.stat()
        identity = (status.st_size, status.st_mtime_ns, status.st_ino)
        known = self._entries.get(key)
        if known is not None and (known.size, known.modified_ns, known.inode) == identity:
            return known.sha256
        digest = self._read(model, stop)
        self._entries[key] = _Entry(*identity, digest)
        self._save()
        return digest

    def _save(self) -> None:
        if self._path is not None:
            write_remembered(self._path, self._entries)
