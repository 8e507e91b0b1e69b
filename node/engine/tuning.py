"""Remembers how many threads a model runs best with on this machine, so that it is measured once."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

import msgspec
import psutil
from cachetools import LRUCache

from node.engine.threads import Threads, default_threads
from node.hardware.backend import physical_cores, usable_cores
from node.models.gguf import GgufInfo
from node.models.remembered import read_remembered, write_remembered

MAX_ENTRIES = 256


def candidates(weights_bytes: int) -> tuple[int, ...]:
    """Numbers of threads worth trying: the rule's, fewer, and all that this process may use."""
    physical, usable = physical_cores(), usable_cores()
    tried = {1, default_threads(weights_bytes), physical // 2, physical, usable}
    return tuple(sorted(count for count in tried if 1 <= count <= usable))


def tuning_key(info: GgufInfo, *, build: str, slots: int) -> str:
    """What decides the best number: the model's shape, whatever its values, the processor, and llama.cpp's build.

    Args:
        info: The model's header.
        build: llama.cpp's version.
        slots: Requests that run at once.
    """
    facts = (
        info.architecture,
        info.quantization,
        info.parameters,
        info.tensor_bytes,
        info.embedding_length,
        slots,
        build,
        platform.machine(),
        _processor(),
        physical_cores(),
        usable_cores(),
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]


class TuningCache:
    """What was measured, by `tuning_key`.

    Args:
        path: A small JSON file that keeps it; without one it is kept in memory only.
        max_entries: Measurements kept; those that were used longest ago are forgotten.
    """

    def __init__(self, path: Path | None = None, max_entries: int = MAX_ENTRIES) -> None:
        self._path = path
        self._entries: LRUCache[str, Threads] = LRUCache(max_entries)
        self._entries.update(_load(path) if path is not None else {})

    def get(self, key: str) -> Threads | None:
        """What was measured, if it was."""
        return self._entries.get(key)

    def put(self, key: str, threads: Threads) -> None:
        """Remember it; a file that can't be written means that the next start measures again."""
        self._entries[key] = threads
        if self._path is not None:
            write_remembered(self._path, self._entries)


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()} {psutil.virtual_memory().total >> 30}"


def _load(path: Path) -> dict[str, Threads]:
    entries = read_remembered(path, Threads)
    usable = usable_cores()
    return {key: one for key, one in entries.items() if 1 <= one.single <= usable and 1 <= one.batch <= usable}
