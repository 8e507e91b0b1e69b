"""The engine against llama.cpp's own programs: many streams, pauses, first tokens, fairness, and equal answers.

``python -m bench.engine`` prints one JSON object. All sides are loaded at once with the same model, threads, cache,
micro-batch and attention, and take turns; ratios are taken within a round. ``--plot FILE`` draws tokens a second over
streams, ``--only PART`` runs parts by themselves, ``--quick`` runs everything once and short.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from bench import engine_contention, engine_greedy, engine_speed
from bench.make_model import SHAPES
from bench.peers import PeerError
from bench.plot import Line, chart
from bench.report import Result, report
from bench.testbed import testbed

PARTS = ("speed", "pause", "turns", "share", "greedy")
ROUNDS, TOKENS = 3, 64
QUICK_ROUNDS, QUICK_TOKENS = 1, 16


def draw(speeds: engine_speed.Speeds) -> str:
    """Tokens a second over streams."""
    counts = sorted({one.streams for one in speeds.rounds})
    limit, ours, server = zip(*(engine_speed.medians(speeds, streams) for streams in counts), strict=True)
    lines = [Line("engine", ours), Line("batched-bench", limit), Line("llama-server", server)]
    return chart("Tokens a second of the engine and its peers", "streams", counts, [("tokens/s, all streams", lines)])


def told(results: list[Result]) -> list[Result]:
    """The same results, said on stderr at once: all of them take minutes."""
    for result in results:
        print(f"{result.metric:<72} {result.value:>10g} {result.unit}", file=sys.stderr, flush=True)
    return results


async def run(options: argparse.Namespace) -> str:
    """Measure the parts asked for."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    tokens = options.tokens or (QUICK_TOKENS if options.quick else TOKENS)
    parts: Collection[str] = options.only or PARTS
    found: list[Result] = []
    whole = asyncio.current_task()
    assert whole is not None
    # Told to stop, we first end what we started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, whole.cancel)
    with tempfile.TemporaryDirectory() as folder:
        async with testbed(
            SHAPES[options.model], Path(folder), with_python=bool({"speed", "greedy"} & set(parts))
        ) as ready:
            print(f"every side: {ready.load}", file=sys.stderr, flush=True)
            if "speed" in parts:
                counts = tuple(options.streams or engine_speed.STREAMS)
                speeds = await engine_speed.measure(ready, rounds=rounds, tokens=tokens, counts=counts)
                found += told(engine_speed.results(speeds))
                if options.plot is not None:
                    await asyncio.to_thread(options.plot.write_text, draw(speeds))
            if "pause" in parts:
                found += told(await engine_contention.pauses(ready, rounds))
            if "turns" in parts:
                found += told(await engine_contention.chats(ready, rounds))
            if "share" in parts:
                found += told(await engine_contention.shares(ready, tokens))
            if "greedy" in parts:
                found += told(await engine_greedy.measure(ready, tokens))
    return report("engine", found)


def main() -> int:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="0.5B")
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all of them")
    parser.add_argument("--streams", action="append", type=int, choices=engine_speed.STREAMS, help="default: all")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--tokens", type=int, help=f"of an answer; default: {TOKENS}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--plot", type=Path, help="draw tokens a second into this SVG file")
    options = parser.parse_args()
    try:
        print(asyncio.run(run(options)))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
