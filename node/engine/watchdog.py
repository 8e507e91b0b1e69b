"""Tells a hanging worker from a slow one: by its progress, in times that follow its measured speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from node.engine import ipc

LEAST_STALL_SECONDS = 20.0
"""A worker on a busy machine may well be silent for this long."""
STALL_BATCHES = 20
"""Silence is suspicious once it lasts as long as this many of the largest batches, which it answers between."""
MOST_PATIENCE = 10
"""How often in a row computing or reading without a word is taken for progress: even a loop without end computes."""
BUSY_SHARE = 0.02
"""Of one core: less than this is no computing."""
LOAD_BYTES_PER_S = 1_000_000
"""A slow disk. A loading worker reports every fiftieth of the file."""
LOAD_SHARE = 0.02
WORK_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What a process has done since it began."""

    computed_s: float
    read_bytes: int

    def since(self, before: Progress, seconds: float) -> bool:
        """Whether it made progress in so many seconds."""
        return self.computed_s - before.computed_s >= BUSY_SHARE * seconds or self.read_bytes > before.read_bytes


class Watched(Protocol):
    """A worker as the watchdog sees it."""

    @property
    def heard_at(self) -> float:
        """The loop's time when it sent something last."""
        ...

    def send(self, *items: ipc.ToWorker) -> None:
        """Send it frames."""
        ...

    def progress(self) -> Progress:
        """What its process has computed and read."""
        ...


@runtime_checkable
class Paced(Protocol):
    """An engine that knows how long it may be silent."""

    def silence_s(self) -> float:
        """How long a request may hear nothing while all is well."""
        ...


class Watchdog:
    """Watches one worker.

    Args:
        least_seconds: The least silence that is suspicious.
        file_bytes: Size of the model's file.
        load_seconds: The least silence that is suspicious while it starts and loads.
    """

    def __init__(self, least_seconds: float, file_bytes: int, load_seconds: float = LEAST_STALL_SECONDS) -> None:
        self._least_s = least_seconds
        self._load_s = max(load_seconds, LOAD_SHARE * file_bytes / LOAD_BYTES_PER_S)
        self.step_s = 0.0
        """How long the worker's largest batch takes, as it says."""
        self.loaded = False
        self.silent_s = 0.0

    @property
    def deadline_s(self) -> float:
        """How long a silence must be to be looked into."""
        return max(self._least_s, STALL_BATCHES * self.step_s) if self.loaded else self._load_s

    async def until_stalled(self, worker: Watched, clock: Callable[[], float]) -> None:
        """Return once the worker neither answers nor makes progress, or was busy without an answer for far too long."""
        patience = 0
        while True:
            asked_at, before = clock(), worker.progress()
            if self.loaded:
                worker.send(ipc.Ping())
            deadline_s = self.deadline_s
            await asyncio.sleep(deadline_s)
            if worker.heard_at >= asked_at:
                patience = 0
                self.silent_s = 0.0
                continue
            patience += 1
            self.silent_s += deadline_s
            if patience >= MOST_PATIENCE or not worker.progress().since(before, deadline_s):
                return


def silence_s(deadline_s: float, work_tokens: int, tokens_per_s: float) -> float:
    """How long one stream may be silent: until a hang would be noticed, and while all that was asked for is computed.

    Args:
        deadline_s: The watchdog's.
        work_tokens: Tokens of all running and waiting requests, as if each used all it may.
        tokens_per_s: Measured speed of one stream, which is the least that all together reach.
    """
    work_s = WORK_FACTOR * work_tokens / tokens_per_s if tokens_per_s > 0 else 0.0
    return MOST_PATIENCE * deadline_s + work_s
