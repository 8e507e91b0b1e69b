"""Many cases in several processes, by shares with a seed each, whatever is compared."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol, TypeVar


class Counted(Protocol):
    """What a share of the cases came to."""

    cases: int
    disagreements: list[str]

    def add(self, other: Any) -> None:
        """Count another share's cases as well."""


T = TypeVar("T", bound=Counted)


def shares(count: int, seed: int, share: int) -> Iterator[tuple[int, int]]:
    """Sizes and seeds of the shares of a run; a run of one share has the run's own seed."""
    for number, start in enumerate(range(0, count, share)):
        yield min(share, count - start), seed + number


def run_shares(total: T, run_share: Callable[[int, int], T], count: int, seed: int, share: int, jobs: int) -> T:
    """Compare many cases in ``jobs`` processes, until all are done or Ctrl+C; progress goes to stderr."""
    started = time.monotonic()
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for tally in pool.map(run_share, *zip(*shares(count, seed, share), strict=True)):
            total.add(tally)
            rate = total.cases / (time.monotonic() - started)
            found = len(total.disagreements)
            sys.stderr.write(f"{total.cases:,} of {count:,} cases, {rate:.0f} a second, {found} disagreements\n")
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what follows is what ran until here\n")
    finally:
        pool.shutdown(cancel_futures=True)
    return total
