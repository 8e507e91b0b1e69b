"""What the rollup costs and how fast it is: bytes, gas, transactions a second, start-up, and how it grows.

``python -m bench.rollup`` prints one JSON object; ``--plot FILE`` also draws the growth, ``--quick`` leaves out the
growth and the join of an old rollup, which take minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import rollup_gas, rollup_growth, rollup_join, rollup_speed
from bench.plot import Line, chart
from bench.report import Result, median_of, report

STARTS = 5
DEADLINE_S = 60.0


def devnet_ready_s(home: Path) -> float:
    """Seconds from the command to the devnet's answer, on a home that isn't there yet."""
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "devnet",
        "--home",
        str(home),
        "--l1-port",
        "0",
        "--l2-port",
        "0",
        "--json",
    ]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - begin
        if not line:
            raise RuntimeError("the devnet ended by itself")
        return seconds
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def starts() -> list[Result]:
    """A devnet from nothing, deployment included."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = [devnet_ready_s(Path(folder) / str(number)) for number in range(STARTS)]
    return [median_of("devnet: nothing to ready, deployment included", seconds, "s", against="wall clock", at_most=3)]


def draw(grown: list[rollup_growth.Growth]) -> str:
    """Memory and times over the number of accounts."""
    return chart(
        "A full node's memory and times by its number of accounts",
        "accounts",
        [size.accounts for size in grown],
        [
            ("memory, MiB", [Line("head", [size.memory_mib for size in grown])]),
            (
                "time, ms",
                [
                    Line("loading", [size.load_s * 1_000 for size in grown]),
                    Line("frame", [size.frame_ms for size in grown]),
                    Line("proof", [size.proof_ms for size in grown]),
                ],
            ),
        ],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw the growth into this SVG file")
    parser.add_argument("--quick", action="store_true", help="leave out the growth and the join")
    options = parser.parse_args()
    results = [*rollup_speed.measure(), *rollup_gas.measure(), *starts()]
    if not options.quick:
        grown = rollup_growth.measure()
        results += rollup_growth.results(grown)
        results += rollup_join.measure()
        if options.plot is not None:
            options.plot.write_text(draw(grown))
    print(report("rollup", results))


if __name__ == "__main__":
    main()
