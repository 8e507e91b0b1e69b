"""Compare who reads batches with who takes them: ``python -m tests.fuzz.calldata --cases N --seed S [--jobs J]``.

Calldata in: either the rollup takes it, and the reader finds the same number, roots and blob in it, or the transaction
reverts. The reader is also held against Solidity's own decoder, on a contract that checks nothing. Prints how many
cases ran, what became of them, and every disagreement with what reproduces it; exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from functools import partial

import msgspec

from chain.codec import BatchFormatError, decode_batch
from chain.frames import frames_root
from chain.l1.calldata import Submission, read_submission, write_submission
from chain.signing import keccak256
from tests.fuzz.sharing import run_shares
from tests.fuzz.submissions import MESSAGES, NOW_S, Intake, Taken, calls, reader_code

SHARE = 10_000
"""Cases that one worker takes at a time, each share with a seed of its own."""


class Tally(msgspec.Struct):
    """What some cases came to."""

    cases: int = 0
    shapes: Counter[str] = msgspec.field(default_factory=Counter)
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    disagreements: list[str] = msgspec.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another share's cases as well."""
        self.cases += other.cases
        self.shapes.update(other.shapes)
        self.outcomes.update(other.outcomes)
        self.disagreements += other.disagreements


def run_share(count: int, seed: int, reader: bytes) -> Tally:
    """Compare ``calls(intake, count, seed)``."""
    intake, tally = Intake(reader), Tally()
    for number, (shape, data) in enumerate(calls(intake, count, seed)):
        found, taken = read_submission(data), intake.take(data)
        tally.cases += 1
        tally.shapes[shape] += 1
        tally.outcomes["taken" if isinstance(taken, Taken) else taken] += 1
        tally.outcomes["read by the reader"] += found is not None
        how = difference(intake, data, found, taken) or unlike_solidity(intake, data, found)
        if how is not None:
            source = f"case {number} of calls(…, {count}, {seed})"
            tally.disagreements.append(f"{shape}: {how}\n  {source}\n  calldata 0x{data.hex()}")
    return tally


def difference(intake: Intake, data: bytes, found: Submission | None, taken: Taken | str) -> str | None:
    """How the rollup's answer differs from what the reader makes of the same bytes; ``None`` where it doesn't."""
    expected = acceptable(intake, data, found)
    if isinstance(taken, str):
        return f"a right batch reverts: {taken}" if expected else None
    if expected is False:
        return "the rollup takes what it must not"
    if found is None:
        return "the rollup takes what nobody can read"
    try:
        batch = decode_batch(found.blob)
    except BatchFormatError as error:
        return f"the rollup takes a blob that is no batch: {error.message}"
    read = Taken(
        batch_id=found.batch_id,
        prev_root=found.prev_root,
        post_root=batch.frames[-1].post_root,
        frames_root=frames_root(batch),
        frame_count=len(batch.frames),
        l2_time_s=batch.header.l2_time_s,
        inbox_to=batch.header.inbox_to,
    )
    return None if read == taken else f"the rollup takes {taken}, the reader finds {read}"


def acceptable(intake: Intake, data: bytes, found: Submission | None) -> bool | None:
    """Whether the rollup must take calldata; ``None`` where that hangs on the batch's time."""
    if found is None or write_submission(found) != data:
        return False
    if (found.batch_id, found.prev_root) != (intake.count, intake.head):
        return False
    try:
        header = decode_batch(found.blob).header
    except BatchFormatError:
        return False
    is_inbox_right = 1 <= header.inbox_to <= MESSAGES and found.inbox_hash == intake.hashes[header.inbox_to]
    if not is_inbox_right:
        return False
    return True if header.l2_time_s == NOW_S else None


def unlike_solidity(intake: Intake, data: bytes, found: Submission | None) -> str | None:
    """How the reader differs from Solidity's own decoder; ``None`` where it doesn't."""
    read = intake.read(data)
    if found is None:
        return None if read is None else "Solidity reads what the reader doesn't"
    if read is None:
        return "the reader reads what Solidity doesn't"
    same = (found.batch_id, found.prev_root, found.inbox_hash, keccak256(found.blob))
    return None if same == read else f"Solidity reads {read}, the reader {same}"


def run(count: int, seed: int, jobs: int) -> Tally:
    """Compare many cases in ``jobs`` processes, until all are done or Ctrl+C; progress goes to stderr."""
    return run_shares(Tally(), partial(run_share, reader=reader_code()), count, seed, SHARE, jobs)


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.calldata", description=__doc__)
    parser.add_argument("--cases", type=int, default=SHARE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    started = time.monotonic()
    tally = run(given.cases, given.seed, given.jobs)
    took_s = time.monotonic() - started
    print(f"cases {tally.cases:,}  seed {given.seed}  {tally.cases / took_s:.0f} a second in {given.jobs} processes")
    for counts in (tally.shapes, tally.outcomes):
        for name, number in counts.most_common():
            print(f"  {name:<26} {number:>10,}")
        print()
    print(f"disagreements {len(tally.disagreements)}")
    for disagreement in tally.disagreements[:20]:
        print(disagreement)
    return 1 if tally.disagreements else 0


if __name__ == "__main__":
    raise SystemExit(main())
