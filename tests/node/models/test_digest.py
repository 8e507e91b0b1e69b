from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from node.models.digest import DigestCache, sha256_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 3_000_000)
    return path


class Reads:
    """Computes digests, and remembers of which files."""

    def __init__(self) -> None:
        self.seen: list[Path] = []

    def __call__(self, path: Path, stop: threading.Event | None = None) -> str:
        self.seen.append(path)
        return sha256_file(path, stop)


@pytest.fixture
def reads() -> Reads:
    return Reads()


def test_a_digest_is_the_files(model: Path):
    assert sha256_file(model) == hashlib.sha256(model.read_bytes()).hexdigest()


def test_an_unchanged_file_is_read_once_even_over_restarts(model: Path, tmp_path: Path, reads: Reads):
    cache = tmp_path / "digests.json"
    first = DigestCache(cache, read=reads).sha256(model)
    assert DigestCache(cache, read=reads).sha256(model) == first == hashlib.sha256(model.read_bytes()).hexdigest()
    assert len(reads.seen) == 1


def test_a_changed_file_is_read_again(model: Path, reads: Reads):
    cache = DigestCache(read=reads)
    first = cache.sha256(model)
    status = model.stat()
    model.write_bytes(b"y" * 3_000_000)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache.sha256(model) != first
    assert len(reads.seen) == 2


def test_a_replaced_file_is_read_again_though_size_and_time_are_the_same(model: Path, reads: Reads):
    cache = DigestCache(read=reads)
    first = cache.sha256(model)
    status = model.stat()
    other = model.with_name("other")
    other.write_bytes(b"y" * 3_000_000)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(model)
    assert cache.sha256(model) != first


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b'{"a": 1}', b'{"\xff": 1}', b'{"a": {"x": ' + b"[" * 9_000, b" " * (1 << 21)], ids=len
)
def test_a_damaged_cache_is_only_a_cache(model: Path, tmp_path: Path, rubbish: bytes):
    cache = tmp_path / "digests.json"
    cache.write_bytes(rubbish)
    assert DigestCache(cache).sha256(model) == sha256_file(model)


def test_a_cache_that_can_not_be_written_is_only_a_cache(model: Path, tmp_path: Path):
    assert DigestCache(tmp_path / "missing" / "digests.json").sha256(model) == sha256_file(model)


def test_a_cache_stays_small(tmp_path: Path, reads: Reads):
    cache = DigestCache(max_entries=2, read=reads)
    files = [tmp_path / f"m{number}" for number in range(3)]
    for path in files:
        path.write_bytes(path.name.encode())
        cache.sha256(path)
    cache.sha256(files[2])
    cache.sha256(files[0])
    assert len(reads.seen) == 4


def test_hashing_can_be_given_up(model: Path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        DigestCache().sha256(model, stop)
