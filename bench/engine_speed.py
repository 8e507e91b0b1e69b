"""Tokens a second of many streams, each side in turn, and how evenly they are given."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers import BatchedBench, batched_bench
from bench.report import Result, median_of
from bench.sides import DRAWN, Contender, TimedAnswer, aggregate, decode_rate, together
from bench.testbed import Testbed

STREAMS = (1, 4, 8, 16)
PYTHON_STREAMS = 8
PROMPT_WORDS = 16
BETWEEN_S = 0.5
"""What a side still does after its last token is not measured: our engine copies what it keeps."""


@dataclass(frozen=True)
class Round:
    """One count of streams, once on every side."""

    streams: int
    limit: BatchedBench
    ours: Sequence[TimedAnswer]
    server: Sequence[TimedAnswer]


@dataclass(frozen=True)
class Speeds:
    """Everything that was measured."""

    rounds: Sequence[Round]
    drawn: Sequence[tuple[float, float]]
    """Tokens a second at eight streams with a usual sampler: ours, llama-server's."""
    python: Sequence[tuple[float, float]]
    """Tokens a second at eight streams: ours of the same round, `llama_cpp.server`'s."""


async def measure(testbed: Testbed, *, rounds: int, tokens: int, counts: Sequence[int] = STREAMS) -> Speeds:
    """All rounds: within each, every count of streams on every side, and the order of the sides alternates."""
    done: list[Round] = []
    drawn: list[tuple[float, float]] = []
    python: list[tuple[float, float]] = []
    for number in range(rounds):
        for streams in counts:
            done.append(await _one(testbed, streams, tokens, turned=bool(number % 2)))
            _tell(f"round {number + 1} of {rounds}", done[-1])
        if PYTHON_STREAMS not in counts:
            continue
        print("eight streams, drawn, and one after the other", file=sys.stderr, flush=True)
        pair = [aggregate(await _ask(testbed, side, PYTHON_STREAMS, tokens, drawn=True)) for side in testbed.pair]
        drawn.append((pair[0], pair[1]))
        if testbed.python is not None:
            ours = next(one for one in reversed(done) if one.streams == PYTHON_STREAMS)
            theirs = await _ask(testbed, testbed.python, PYTHON_STREAMS, tokens)
            python.append((aggregate(ours.ours), aggregate(theirs)))
    return Speeds(done, drawn, python)


def _tell(label: str, one: Round) -> None:
    rates = f"limit {one.limit.tokens_per_s:.1f}, engine {aggregate(one.ours):.1f}, server {aggregate(one.server):.1f}"
    print(f"{label}, {one.streams} streams, tokens/s: {rates}", file=sys.stderr)
    print(f"  seconds to the first token: engine {_firsts(one.ours)}, server {_firsts(one.server)}", file=sys.stderr)


def _firsts(answers: Sequence[TimedAnswer]) -> str:
    seconds = [answer.first_s for answer in answers]
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


async def _ask(
    testbed: Testbed, side: Contender, streams: int, tokens: int, *, drawn: bool = False
) -> list[TimedAnswer]:
    texts = [testbed.words(PROMPT_WORDS) for _ in range(streams)]
    return await (together(side, texts, tokens, DRAWN) if drawn else together(side, texts, tokens))


async def _one(testbed: Testbed, streams: int, tokens: int, *, turned: bool) -> Round:
    prompt = await testbed.prompt_tokens(testbed.words(PROMPT_WORDS))
    limit: BatchedBench | None = None
    answers: dict[str, list[TimedAnswer]] = {}
    order = ("limit", "ours", "server")
    for side in reversed(order) if turned else order:
        if side == "limit":
            # The prompt's last token gives the first new one, so one step less follows than there are tokens.
            limit = await batched_bench(
                testbed.programs, testbed.load, prompt=prompt, tokens=tokens - 1, streams=streams
            )
        else:
            answers[side] = await _ask(testbed, getattr(testbed, side), streams, tokens)
            await asyncio.sleep(BETWEEN_S)
    assert limit is not None
    return Round(streams, limit, answers["ours"], answers["server"])


def results(speeds: Speeds) -> list[Result]:
    """Ratios within each round, and what they are ratios of."""
    found: list[Result] = []
    for streams in sorted({one.streams for one in speeds.rounds}):
        rounds = [one for one in speeds.rounds if one.streams == streams]
        label = f"{streams} stream{'s' if streams > 1 else ''}"
        ours = [aggregate(one.ours) for one in rounds]
        limits = [one.limit.tokens_per_s for one in rounds]
        servers = [aggregate(one.server) for one in rounds]
        against_limit = [mine / limit for mine, limit in zip(ours, limits, strict=True)]
        against_server = [mine / theirs for mine, theirs in zip(ours, servers, strict=True)]
        decoding = [decode_rate(one.ours) / one.limit.decode_tokens_per_s for one in rounds]
        same = "same run, same batch"
        found += [
            median_of(f"{label}: engine / llama-batched-bench", against_limit, "ratio", against=same, at_least=0.97),
            median_of(f"{label}: engine / llama-server", against_server, "ratio", against=same, at_least=1.0),
            median_of(f"{label}: engine / llama-batched-bench without the prompts", decoding, "ratio", against=same),
            # Others on the machine only ever slow a side down: the best of many rounds is what it can do.
            median_of(
                f"{label}: engine / llama-batched-bench, best round of each",
                [max(ours) / max(limits)],
                "ratio",
                against="same run",
            ),
            median_of(
                f"{label}: engine / llama-server, best round of each",
                [max(ours) / max(servers)],
                "ratio",
                against="same run",
            ),
            median_of(f"{label}: engine", ours, "tok/s", against="first question to last token"),
            median_of(f"{label}: llama-batched-bench", limits, "tok/s", against="the same tokens"),
            median_of(f"{label}: llama-server", servers, "tok/s", against="the same tokens"),
        ]
    if speeds.python:
        ratios = [mine / theirs for mine, theirs in speeds.python]
        alone = [theirs for _, theirs in speeds.python]
        found += [
            median_of("8 streams: engine / llama_cpp.server", ratios, "ratio", against="same run", at_least=1.8),
            median_of("8 streams: llama_cpp.server", alone, "tok/s", against="one after the other"),
        ]
    if speeds.drawn:
        ratios = [mine / theirs for mine, theirs in speeds.drawn]
        fair = [fairness(one.ours) for one in speeds.rounds if one.streams == PYTHON_STREAMS]
        found += [
            median_of("8 streams, top_k and top_p: engine / llama-server", ratios, "ratio", against="same run"),
            median_of("8 equal streams: slowest / fastest", fair, "ratio", against="tokens/s of each", at_least=0.9),
        ]
    return found


def fairness(answers: Sequence[TimedAnswer]) -> float:
    """The slowest stream's tokens a second over the fastest one's."""
    rates = [answer.tokens_per_s for answer in answers]
    return min(rates) / max(rates)


def medians(speeds: Speeds, streams: int) -> tuple[float, float, float]:
    """Tokens a second of the limit, of ours and of llama-server."""
    rounds = [one for one in speeds.rounds if one.streams == streams]
    return (
        statistics.median(one.limit.tokens_per_s for one in rounds),
        statistics.median(aggregate(one.ours) for one in rounds),
        statistics.median(aggregate(one.server) for one in rounds),
    )
