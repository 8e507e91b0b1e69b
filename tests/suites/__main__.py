"""``python -m tests.suites``: published suites against our own code, as a table. Fails where a line doesn't hold."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path

from tests.suites import chat_templates, json_schemas, thinking, vocabularies
from tests.suites.row import Row, SourceError, Sources, Suite
from tests.suites.sdist import ROOT, unpacked

SUITES: dict[str, Suite] = {
    "vocabularies": vocabularies.rows,
    "templates": chat_templates.rows,
    "thinking": thinking.rows,
    "schemas": json_schemas.suite_rows,
    "schemabench": json_schemas.bench_rows,
}
COLUMNS = f"{'suite':<14} {'cases':<56} {'tried':>7} {'passed':>7} {'':<8} note"


def line(suite: str, row: Row) -> str:
    """A row as it is printed."""
    verdict = "ok" if row.holds else "FAILED"
    return f"{suite:<14} {row.what[:56]:<56} {row.tried:>7,} {row.passed:>7,} {verdict:<8} {row.note}".rstrip()


def run(names: list[str], sources: Sources) -> int:
    """Run suites and print their lines as they come; returns how many lines don't hold."""
    failures = 0
    print(COLUMNS)
    for name in names:
        began = time.monotonic()
        tried = passed = 0
        try:
            for row in SUITES[name](sources):
                print(line(name, row), flush=True)
                failures += not row.holds
                tried, passed = tried + row.tried, passed + row.passed
        except SourceError as error:
            print(f"{name:<14} left out: {error}", flush=True)
            continue
        took = f"{time.monotonic() - began:.0f} s"
        print(line(name, Row(what="in all", tried=tried, passed=passed, least=0, note=took)), flush=True)
    return failures


def suite(name: str) -> str:
    """The name of a suite, as it is.

    Raises:
        ArgumentTypeError: If there is none of that name.
    """
    if name not in SUITES:
        raise argparse.ArgumentTypeError(f"there is no suite {name!r}; choose from {', '.join(SUITES)}")
    return name


def command_line() -> argparse.ArgumentParser:
    """What ``make suites ARGS=...`` takes."""
    parser = argparse.ArgumentParser(
        prog="make suites ARGS=...",
        description="Run published suites against our own code and print a table. Fails where a line doesn't hold.",
    )
    parser.add_argument(
        "suites", nargs="*", type=suite, metavar="SUITE", help=f"one of {', '.join(SUITES)}; all if none is named"
    )
    parser.add_argument("--sdist", default=os.environ.get("SDIST", ""), help="an unpacked sdist of llama-cpp-python")
    parser.add_argument("--schemas", default=os.environ.get("SCHEMAS", ""), help="a copy of JSONSchemaBench")
    return parser


def main() -> int:
    """Run what the command line names."""
    given = command_line().parse_args()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "suites"
    sources = Sources(
        sdist=(lambda: Path(given.sdist)) if given.sdist else functools.cache(lambda: unpacked(cache)),
        shared=ROOT.parent / "shared" / "data",
        schemas=Path(given.schemas) if given.schemas else None,
    )
    return 1 if run(given.suites or list(SUITES), sources) else 0


if __name__ == "__main__":
    sys.exit(main())
