"""``python -m bench``: run every program, print their JSON on stdout and a table on stderr."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from bench.report import BenchReport

PROGRAMS = ("bench.engine", "bench.path", "bench.start", "bench.rollup", "bench.schemas")


def main() -> int:
    """Run them one after another; fails when one fails to run, never because a figure misses its aim."""
    reports = []
    for program in PROGRAMS:
        print(f"running {program} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", program], stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            print(f"{program} failed with status {done.returncode}", file=sys.stderr)
            return 1
        reports.append(msgspec.json.decode(done.stdout, type=BenchReport))
    print(msgspec.json.format(msgspec.json.encode(reports), indent=2).decode())
    for report in reports:
        for result in report.results:
            verdict = {True: "met", False: "NOT MET", None: ""}[result.met]
            spread = f"({result.spread[0]:g} to {result.spread[1]:g})" if result.spread else ""
            figure = f"{result.metric:<64} {result.value:>10g} {result.unit:<8} {spread:<24}"
            row = f"{report.bench:<8} {figure} {result.aim:<10} {verdict}"
            print(row, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
