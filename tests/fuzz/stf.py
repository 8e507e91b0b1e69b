"""Compare the Python state transition with the contract: ``python -m tests.fuzz.stf --cases N --seed S [--jobs J]``.

Prints how many cases ran, how fast, by which codes, and every disagreement with what reproduces it; exits 1 if there
is one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import msgspec

from chain.stf import Code
from tests.fuzz.cases import case_kinds, cases
from tests.fuzz.prover import difference, examine, shipped
from tests.fuzz.sharing import run_shares

SHARE = 4_000
"""Cases that one worker takes at a time, each share with a seed of its own."""


class Tally(msgspec.Struct):
    """What some cases came to."""

    cases: int = 0
    codes: Counter[str] = msgspec.field(default_factory=Counter)
    disagreements: list[str] = msgspec.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another share's cases as well."""
        self.cases += other.cases
        self.codes.update(other.codes)
        self.disagreements += other.disagreements


def run_share(count: int, seed: int) -> Tally:
    """Compare ``cases(count, seed)``."""
    prover, tally = shipped(), Tally()
    for number, case in enumerate(cases(count, seed)):
        call, code, root = examine(case)
        tally.cases += 1
        tally.codes[code.name] += 1
        how = difference(prover, call, code, root)
        if how is not None:
            source = f"case {number} of cases({count}, {seed})"
            tally.disagreements.append(f"{case.name}: {how}\n  {source}\n  calldata 0x{call.encode().hex()}")
    return tally


def run(count: int, seed: int, jobs: int) -> Tally:
    """Compare many cases in ``jobs`` processes, until all are done or Ctrl+C; progress goes to stderr."""
    return run_shares(Tally(), run_share, count, seed, SHARE, jobs)


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.stf", description=__doc__)
    parser.add_argument("--cases", type=int, default=case_kinds())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    started = time.monotonic()
    tally = run(given.cases, given.seed, given.jobs)
    took_s = time.monotonic() - started
    print(f"cases {tally.cases:,}  seed {given.seed}  {tally.cases / took_s:.0f} a second in {given.jobs} processes")
    for code in Code:
        print(f"  {code.value:>2} {code.name.lower():<22} {tally.codes[code.name]:>10,}")
    print(f"disagreements {len(tally.disagreements)}")
    for disagreement in tally.disagreements[:20]:
        print(disagreement)
    return 1 if tally.disagreements else 0


if __name__ == "__main__":
    raise SystemExit(main())
