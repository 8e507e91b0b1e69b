from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from node.models import digest
from node.models.digest import DigestCache, sha256_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 3_000_000)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []

    def read(path: Path, stop: threading.Event | None = None) -> str:
        seen.append(path)
        return sha256_file(path, stop)

    monkeypatch.setattr(digest, "sha256_file", read)
    return seen


def test_a_digest_is_the_files(model: Path):
    assert sha256_file(model) == hashlib.sha256(model.read_bytes()).hexdigest()


def test_an_unchanged_file_is_read_once_even_over_restarts(model: Path, tmp_path: Path, reads: list[Path]):
    cache = tmp_path / "digests.json"
    first = DigestCache(cache).sha256(model)
    assert DigestCache(cache).sha256(model) == first == hashlib.sha256(model.read_bytes()).hexdigest()
    assert len(reads) == 1


def test_a_changed_file_is_read_again(model: Path, reads: list[Path]):
    cache = DigestCache()
    first = cache.sha256(model)
    status = model.stat()
    model.write_bytes(b"y" * 3_000_000)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache.sha256(model) != first
    assert len(reads) == 2


def test_a_replaced_file_is_read_again_though_size_and_time_are_the_same(model: Path, reads: list[Path]):
    cache = DigestCache()
    first = cache.sha256(model)
    status = model.stat()
    other = model.with_name("other")
    other.write_bytes(b"y" * 3_000_000)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(model)
    assert cache.sha256(model) != first


@pytest.mark.parametrize("rubbish", [b"", b"{", b'{"a": 1}', b" " * (1 << 21)], ids=len)
def test_a_damaged_cache_is_only_a_cache(model: Path, tmp_path: Path, rubbish: bytes):
    cache = tmp_path / "digests.json"
    cache.write_bytes(rubbish)
    assert DigestCache(cache).sha256(model) == sha256_file(model)


def test_a_cache_that_can_not_be_written_is_only_a_cache(model: Path, tmp_path: Path):
    assert DigestCache(tmp_path / "missing" / "digests.json").sha256(model) == sha256_file(model)


def test_a_cache_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]):
    monkeypatch.setattr(digest, "_MAX_ENTRIES", 2)
    cache = DigestCache()
    files = [tmp_path / f"m{number}" for number in range(3)]
    for path in files:
        path.write_bytes(path.name.encode())
        cache.sha256(path)
    cache.sha256(files[2])
    cache.sha256(files[0])
    assert len(reads) == 4


def test_hashing_can_be_given_up(model: Path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        DigestCache().sha256(model, stop)
