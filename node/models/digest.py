"""SHA-256 of model files, remembered while a file stays the same: hashing tens of gigabytes takes a minute."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import msgspec

from node.models.naming import part_names

_CHUNK_BYTES = 1 << 20
_MAX_ENTRIES = 256
_MAX_FILE_BYTES = 1 << 20


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


class DigestCache:
    """Digests by path, size, modification time and inode; in memory, and in a small JSON file if one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: dict[str, _Entry] = _load(path) if path is not None else {}

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
        key, status = str(model.resolve()), model.stat()
        identity = (status.st_size, status.st_mtime_ns, status.st_ino)
        known = self._entries.get(key)
        if known is not None and (known.size, known.modified_ns, known.inode) == identity:
            return known.sha256
        digest = sha256_file(model, stop)
        self._entries.pop(key, None)
        self._entries[key] = _Entry(*identity, digest)
        while len(self._entries) > _MAX_ENTRIES:
            self._entries.pop(next(iter(self._entries)))
        self._save()
        return digest

    def _save(self) -> None:
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.write_bytes(msgspec.json.encode(self._entries))
            beside.replace(self._path)
        except OSError:  # only a cache: without it the next start reads the file once more
            beside.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, _Entry]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
    except (OSError, msgspec.DecodeError):
        return {}
