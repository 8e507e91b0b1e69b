"""``python -m tests.villains``: every villain against one honest watchtower, as a table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from chain.villains import VILLAINS
from tests.villains.arena import build_template
from tests.villains.fight import Outcome, fight, honest_run

COLUMNS = ("Villain", "What it does", "Stopped by", "Detected", "Proven", "Reverted", "Slashed", "Blocks", "Gas", "s")


def row(outcome: Outcome) -> tuple[str, ...]:
    """One villain's line."""
    villain = VILLAINS.get(outcome.villain)
    gas = "" if outcome.prove_gas is None else f"{outcome.commit_gas or 0:,} + {outcome.prove_gas:,}"
    flags = (outcome.is_detected, outcome.is_proven, outcome.is_reverted, outcome.is_slashed)
    return (
        f"`{outcome.villain}`" if villain else outcome.villain,
        villain.does if villain else "posts what is right",
        outcome.stopped_by,
        *("yes" if flag else "no" for flag in flags),
        "" if outcome.blocks is None else str(outcome.blocks),
        gas,
        "" if outcome.compute_s is None else f"{outcome.compute_s:.1f}",
    )


async def run(names: list[str]) -> int:
    """Run them, and print as they come; returns how many were not stopped."""
    failures = 0
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        await build_template(template)
        for name in [*names, ""]:
            place = Path(folder) / (name or "honest")
            try:
                outcome = await (fight(template, place, VILLAINS[name]) if name else honest_run(template, place))
            except AssertionError as error:
                failures += 1
                outcome = Outcome(villain=name or "(none)", stopped_by=f"NOT AS IT SHOULD: {error}")
            print("| " + " | ".join(row(outcome)) + " |", flush=True)
    return failures


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("villains", nargs="*", choices=[*VILLAINS, []], help="all if none is named")
    names = parser.parse_args().villains or list(VILLAINS)
    return 1 if asyncio.run(run(names)) else 0


if __name__ == "__main__":
    sys.exit(main())
