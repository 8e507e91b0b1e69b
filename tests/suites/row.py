"""What every suite is given, and the lines that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    """Which cases, for instance a file's name."""
    tried: int
    passed: int
    least: int | None = None
    """How many must pass; by default all. 0 for a figure that is only told."""
    note: str = ""
    """What a reader should know: a share, or the first case that failed."""

    @property
    def holds(self) -> bool:
        """Whether enough passed."""
        return self.passed >= (self.tried if self.least is None else self.least)


class SourceError(Exception):
    """What a suite needs isn't here; the text says how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the suites' files are."""

    sdist: Callable[[], Path]
    """Gives the unpacked sdist of llama-cpp-python, downloaded at the first call. Raises `SourceError`."""
    shared: Path
    """The folder of published data beside the checkout (`../shared/data`)."""
    schemas: Path | None = None
    """A copy of JSONSchemaBench; None where none was named."""


Suite = Callable[[Sources], Iterable[Row]]
"""Gives its lines as they are known. Raises `SourceError` where its files are missing: the suite is then left out."""
