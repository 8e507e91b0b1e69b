"""What one buyer notices of another, and of the conversation's own past: pauses, first tokens, Python's share."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.peers import batched_bench
from bench.probe import ProbedStep, probed, steps
from bench.report import Result, median_of
from bench.sides import GREEDY, Contender, OurEngine, TimedAnswer, ask, question, together
from bench.testbed import Testbed, new_engine
from node.values.inference import ChatMessage

LONG_PROMPT_WORDS = 2_000
BEFORE_TOKENS, AFTER_TOKENS = 6, 3
RUNNING_TOKENS = 400
TURNS = 5
TURN_WORDS, TURN_TOKENS = 96, 24
SHARE_STREAMS = 8


@dataclass(frozen=True)
class StreamStall:
    """What a running stream noticed of a long prompt, and how long that prompt took."""

    worst_s: float
    steps: int
    """Tokens that the running stream got while the prompt was read."""
    first_s: float
    """To the long prompt's own first token."""


async def pause(side: Contender, testbed: Testbed) -> StreamStall:
    """Run a stream, send a long prompt beside it, and look at the gaps between the stream's tokens."""
    running = TimedAnswer(time.perf_counter())
    watched = asyncio.create_task(
        side.ask(question(testbed.words(16)), RUNNING_TOKENS, GREEDY, running), name="running stream"
    )
    try:
        await running.reach(BEFORE_TOKENS)
        long = await ask(side, question(testbed.words(LONG_PROMPT_WORDS)), 1)
        await running.reach(running.tokens + AFTER_TOKENS)
    finally:
        watched.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watched
    begin, end = long.asked_at, long.ended_at
    times = [at for at, _ in running.pieces]
    before = [at for at in times if at < begin]
    after = next((at for at in times if at > end), end)
    during = [at for at in times if begin <= at <= end]
    gaps = [b - a for a, b in itertools.pairwise([max(before), *during, after])]
    got = sum(tokens for at, tokens in running.pieces if begin <= at <= end)
    return StreamStall(max(gaps), got, long.first_s)


@dataclass(frozen=True)
class ChatTimes:
    """Seconds to the first token: of the last turn of a chat, and of a first turn as long."""

    last_s: float
    fresh_s: float
    new_share: float
    """The part of the last turn's prompt that the engine had not seen."""


async def turns(testbed: Testbed) -> ChatTimes:
    """A chat of some turns, then one question of the same length."""
    side = OurEngine(testbed.engine, reuse=True)
    chat: list[ChatMessage] = []
    answer = TimedAnswer(0.0)
    seen = 0
    for _ in range(TURNS):
        seen = answer.prompt_tokens + answer.tokens
        chat.append(ChatMessage("user", testbed.words(TURN_WORDS)))
        answer = await ask(side, chat, TURN_TOKENS)
        chat.append(ChatMessage("assistant", answer.text))
    overhead = await testbed.prompt_tokens(testbed.words(1)) - 1
    fresh = await ask(testbed.ours, question(testbed.words(answer.prompt_tokens - overhead)), 1)
    if abs(fresh.prompt_tokens - answer.prompt_tokens) > 2:
        raise RuntimeError(f"prompts differ: {fresh.prompt_tokens} and {answer.prompt_tokens} tokens")
    return ChatTimes(answer.first_s, fresh.first_s, 1 - seen / answer.prompt_tokens)


async def python_share(testbed: Testbed, tokens: int) -> Sequence[ProbedStep]:
    """Steps of eight streams, taken apart inside a worker that has a clock around llama.cpp."""
    output = testbed.folder / "probe.json"
    engine = new_engine(testbed.load.model, testbed.folder / "probe.log", SHARE_STREAMS)
    async with probed(engine, output):
        texts = [testbed.words(16) for _ in range(SHARE_STREAMS)]
        await together(OurEngine(engine), texts, tokens)
    return steps(output, SHARE_STREAMS)


async def pauses(testbed: Testbed, rounds: int) -> list[Result]:
    """The pause of both, beside what one chunk takes by itself: read in chunks as small, and as its share uncut."""
    ours, theirs = list[StreamStall](), list[StreamStall]()
    chunks, shares = list[float](), list[float]()
    for number in range(rounds):
        print(f"pause: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        ours.append(await pause(testbed.ours, testbed))
        theirs.append(await pause(testbed.server, testbed))
        steps_taken = max(1, ours[-1].steps)
        chunk_tokens = max(1, LONG_PROMPT_WORDS // steps_taken)
        small = replace(testbed.load, batch_tokens=chunk_tokens, micro_batch_tokens=chunk_tokens)
        for found, load in ((chunks, small), (shares, testbed.load)):
            limit = await batched_bench(testbed.programs, load, prompt=LONG_PROMPT_WORDS, tokens=1, streams=1)
            found.append(limit.t_pp / steps_taken)
    mine, other = [one.worst_s * 1_000 for one in ours], [one.worst_s * 1_000 for one in theirs]
    to_chunk = [one.worst_s / chunk for one, chunk in zip(ours, chunks, strict=True)]
    to_share = [one.worst_s / share for one, share in zip(ours, shares, strict=True)]
    to_server = [a / b for a, b in zip(mine, other, strict=True)]
    label = "2,000-token prompt beside a stream"
    return [
        median_of(f"{label}: pause / one chunk", to_chunk, "ratio", against="the prompt alone, so cut", at_most=2),
        median_of(f"{label}: pause / its share of the prompt", to_share, "ratio", against="the prompt alone, uncut"),
        median_of(f"{label}: pause / llama-server's", to_server, "ratio", against="same run", at_most=1),
        median_of(f"{label}: pause", mine, "ms", against="engine"),
        median_of(f"{label}: pause", other, "ms", against="llama-server"),
        median_of(f"{label}: the stream's tokens", [float(one.steps) for one in ours], "tokens", against="engine"),
        median_of(f"{label}: its first token", [one.first_s * 1_000 for one in ours], "ms", against="engine"),
        median_of(f"{label}: its first token", [one.first_s * 1_000 for one in theirs], "ms", against="llama-server"),
    ]


async def chats(testbed: Testbed, rounds: int) -> list[Result]:
    """How much of a conversation's past is not computed again."""
    found = [await turns(testbed) for _ in range(rounds)]
    label = f"turn {TURNS} of a chat"
    return [
        median_of(
            f"{label}: first token / a first turn's of that length",
            [one.last_s / one.fresh_s for one in found],
            "ratio",
            against="same run",
            at_most=0.25,
        ),
        median_of(f"{label}: first token", [one.last_s * 1_000 for one in found], "ms", against="engine"),
        median_of(f"{label}: new part of its prompt", [one.new_share for one in found], "ratio", against="its tokens"),
    ]


async def shares(testbed: Testbed, tokens: int) -> list[Result]:
    """Where a step's time goes."""
    found = await python_share(testbed, tokens)
    if not found:
        raise RuntimeError("no step decoded eight streams")
    whole = [one.whole_s * 1_000 for one in found]
    python_ms = statistics.median(one.python_share * one.whole_s for one in found) * 1_000
    return [
        median_of(
            "8 streams: Python's share of a decode step",
            [one.python_share for one in found],
            "ratio",
            against="a step",
            at_most=0.02,
        ),
        median_of("8 streams: drawing's share of a decode step", [one.other_share for one in found], "ratio",
                  against="a step"),
        median_of("8 streams: a decode step", whole, "ms", against="worker's clock"),
        median_of("8 streams: Python in a decode step", [python_ms], "ms", against="worker's clock"),
    ]  # fmt: skip
