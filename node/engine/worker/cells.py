"""Counts the cells of a cache in which sequences share their beginnings: each shared cell once."""

from __future__ import annotations

from collections.abc import Iterable


class _Run:
    """Consecutive cells that the same sequences use: what follows it, or ends in it, holds it."""

    __slots__ = ("before", "end", "holders", "start")

    def __init__(self, before: _Run | None, start: int, end: int) -> None:
        self.before = before
        self.start = start
        self.end = end
        self.holders = 0
        if before is not None:
            before.holders += 1


class Cells:
    """A tree of runs of cells: every sequence is a path from a root to the run it grows in.

    Args:
        capacity: Cells there are.
    """

    __slots__ = ("_ends", "free")

    def __init__(self, capacity: int) -> None:
        self.free = capacity
        self._ends: dict[int, _Run] = {}

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._ends

    def length(self, sequence: int) -> int:
        """Tokens that a sequence has in the cache."""
        return self._ends[sequence].end

    def open(self, sequence: int) -> None:
        """Begin a sequence without any cells."""
        self._hold(sequence, _Run(None, 0, 0))

    def grow(self, sequence: int, count: int) -> None:
        """Give a sequence so many cells more."""
        self._ends[sequence].end += count
        self.free -= count

    def fork(self, source: int, sequence: int, length: int) -> None:
        """Begin a sequence with the first `length` cells of another one, which both hold from now on.

        Args:
            source: The sequence that has the cells.
            sequence: The new one.
            length: Cells that both hold.
        """
        run: _Run = self._ends[source]
        while run.before is not None and run.start >= length:
            run = run.before
        shared = self._split(run, length) if length < run.end or self._ends[source] is run else run
        self._hold(sequence, _Run(shared, length, length))

    def drop(self, sequence: int) -> int:
        """End a sequence; returns how many cells that frees."""
        run: _Run | None = self._ends.pop(sequence)
        run.holders -= 1  # type: ignore[union-attr]
        freed = 0
        while run is not None and not run.holders:
            freed += run.end - run.start
            run = run.before
            if run is not None:
                run.holders -= 1
        self.free += freed
        return freed

    def held(self, sequences: Iterable[int]) -> int:
        """Cells that these sequences hold together."""
        seen: set[_Run] = set()
        for sequence in sequences:
            run: _Run | None = self._ends[sequence]
            while run is not None and run not in seen:
                seen.add(run)
                run = run.before
        return sum(run.end - run.start for run in seen)

    def _hold(self, sequence: int, run: _Run) -> None:
        run.holders += 1
        self._ends[sequence] = run

    def _split(self, run: _Run, at: int) -> _Run:
        """The upper part of a run, up to `at`; the lower part keeps its present holders."""
        upper = _Run(run.before, run.start, at)
        if run.before is not None:
            run.before.holders -= 1
        run.before, run.start = upper, at
        upper.holders += 1
        return upper
