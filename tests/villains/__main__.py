"""``python -m tests.villains``: every villain against one honest watchtower, then every attack, as two tables."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from chain.villains import VILLAINS
from tests.villains.arena import build_template
from tests.villains.attack import Result
from tests.villains.attacks import attacks
from tests.villains.fight import Outcome, fight, honest_run

COLUMNS = ("Villain", "What it does", "Stopped by", "Detected", "Proven", "Reverted", "Slashed", "Blocks", "Gas", "s")
ATTACK_COLUMNS = ("Attack", "Who", "What it does", "Before", "Now", "Costs", "Gains")


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
    villains = [name for name in names if name in VILLAINS]
    others = [name for name in names if name not in VILLAINS]
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        await build_template(template)
        failures = await _villains(template, Path(folder), villains) if villains else 0
        if villains and others:
            print()
        return failures + (await _attacks(template, Path(folder), others) if others else 0)


async def _villains(template: Path, folder: Path, names: list[str]) -> int:
    _head(COLUMNS)
    failures = 0
    for name in [*names, ""]:
        place = folder / (name or "honest")
        try:
            outcome = await (fight(template, place, VILLAINS[name]) if name else honest_run(template, place))
        except AssertionError as error:
            failures += 1
            outcome = Outcome(villain=name or "(none)", stopped_by=f"NOT AS IT SHOULD: {error}")
        _line(row(outcome))
    return failures


async def _attacks(template: Path, folder: Path, names: list[str]) -> int:
    _head(ATTACK_COLUMNS)
    failures = 0
    for name in names:
        attack, fight_it = attacks()[name]
        try:
            result = await fight_it(template, folder / name)
        except AssertionError as error:
            failures += 1
            result = Result(stopped_by=f"NOT AS IT SHOULD: {error}", cost="", gained="")
        now = (result.stopped_by, result.cost, result.gained)
        _line((f"`{name}`", attack.who, attack.does, attack.before, *now))
    return failures


def _head(columns: tuple[str, ...]) -> None:
    _line(columns)
    print("|" + "---|" * len(columns))


def _line(cells: tuple[str, ...]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    everything = [*VILLAINS, *attacks()]
    parser.add_argument("names", nargs="*", choices=[*everything, []], help="all if none is named")
    names = parser.parse_args().names or everything
    return 1 if asyncio.run(run(names)) else 0


if __name__ == "__main__":
    sys.exit(main())
