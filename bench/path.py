"""What the market costs: speed and first token through relay, seal and vouchers, against those of the engine alone.

Both go to the same engine, the seller's, in the same run, one after the other, again and again; the ratios are taken
within each pair. (A second worker with the same model and settings can be some percent faster or slower for as long as
it lives, by where its memory lies.) Weights are random, so that hardly an answer ends before its limit. Streams begin a
little apart, as people do: prompts that come within one millisecond would be read as one batch, and a path that spreads
them by ten would be charged with a whole batch.

What the path adds to the first token comes from many short questions of one chat, one at a time, by a clock at both
ends of the path: from the question to the moment the seller's engine is asked, and from the engine's first text to the
screen. The engine's own time in between is not in it, which varies by far more than the path takes; the two first
tokens, path's and direct, are told beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.config import Config
from app.demo import WALLET, Demo, prepare, running_demo
from app.home import Home
from app.wiring import local_node
from bench.make_model import SHAPES, make_model
from bench.report import Result, median_of, report
from node.api import NodeApi
from node.engine.llama import LlamaEngine
from node.engine.protocol import Chunk, EngineEvent, GenerateRequest
from node.values import ChatDelta, ChatDone, ChatFailed, ChatMessage, ChatTurn, Sampling

STREAMS = (1, 4, 8)
SLOTS = 8
CONTEXT_TOKENS = 1_024
APART_TOKENS = 20
"""Tokens that a lone stream makes between the starts of two."""
OUTPUT_TOKENS = {"41M": 200, "0.5B": 128}
FIRST_PAIRS = 100
FIRST_TOKENS = 2
PASSPHRASE = "bench"
Ask = Callable[[str], AsyncIterator[int]]
"""Asks a prompt; yields counts of tokens as they come."""
SAMPLING = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=7)


@dataclass(frozen=True)
class PathSample:
    """One round: all streams' tokens over the time from first start to last end, and the median first token."""

    tokens_per_s: float
    first_token_ms: float


@dataclass
class EngineClock:
    """Which engine of this process was asked last, when, and when it gave the first text of its answer."""

    engine: LlamaEngine | None = None
    asked_s: float = 0.0
    text_s: float = 0.0


@contextmanager
def watched() -> Iterator[EngineClock]:
    """Watch the engines of this process."""
    clock, generate = EngineClock(), LlamaEngine.generate

    async def generate_watched(engine: LlamaEngine, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        clock.engine, clock.asked_s, clock.text_s = engine, time.perf_counter(), 0.0
        async with aclosing(generate(engine, request)) as events:
            async for event in events:
                if isinstance(event, Chunk) and not clock.text_s:
                    clock.text_s = time.perf_counter()
                yield event

    LlamaEngine.generate = generate_watched  # type: ignore[method-assign, assignment]
    try:
        yield clock
    finally:
        LlamaEngine.generate = generate  # type: ignore[method-assign]


async def one_round(ask: Sequence[Ask], prompts: Sequence[str], *, apart_s: float = 0.0) -> PathSample:
    """Run every stream, each ``apart_s`` after the one before; each yields token counts as they come."""

    async def stream(number: int, asking: Ask, prompt: str) -> tuple[int, float]:
        await asyncio.sleep(number * apart_s)
        begin, first, total = time.perf_counter(), 0.0, 0
        async for tokens in asking(prompt):
            first = first or (time.perf_counter() - begin) * 1_000
            total += tokens
        return total, first

    begin = time.perf_counter()
    done = await asyncio.gather(
        *(stream(number, asking, prompt) for number, (asking, prompt) in enumerate(zip(ask, prompts, strict=True)))
    )
    seconds = time.perf_counter() - begin
    return PathSample(sum(total for total, _ in done) / seconds, statistics.median(first for _, first in done))


def through_engine(engine: LlamaEngine, tokens: int, asker: int = 0) -> Ask:
    """Ask the engine itself, as one of several who don't share their prompts' beginnings: buyers don't either."""

    async def ask(prompt: str) -> AsyncIterator[int]:
        request = GenerateRequest(
            request_id=f"direct {prompt}",
            messages=(ChatMessage("user", prompt),),
            max_tokens=tokens,
            sampling=SAMPLING,
            cache_key=f"asker {asker}",
        )
        async for event in engine.generate(request):
            if isinstance(event, Chunk):
                yield event.tokens

    return ask


def through_market(buyer: NodeApi, tokens: int) -> Ask:
    """Ask over relay and seal, paying by the token."""

    async def ask(prompt: str) -> AsyncIterator[int]:
        turn = ChatTurn(messages=(ChatMessage("user", prompt),), max_tokens=tokens, sampling=SAMPLING)
        so_far = 0
        async with buyer.chat(turn) as events:
            async for event in events:
                match event:
                    case ChatDelta():
                        yield event.output_tokens - so_far
                        so_far = event.output_tokens
                    case ChatDone():
                        yield event.output_tokens - so_far
                    case ChatFailed():
                        raise RuntimeError(event.message)

    return ask


@asynccontextmanager
async def buyers(demo: Demo, home: Home, config: Config) -> AsyncIterator[list[NodeApi]]:
    """As many buyers as there are slots, each with a wallet of its own."""
    async with AsyncExitStack() as stack:
        urls = msgspec.structs.replace(config, relay=demo.relay_url, chain=demo.chain_url)
        nodes: list[NodeApi] = [demo.buyer]
        for number in range(1, SLOTS):
            nodes.append(
                await stack.enter_async_context(local_node(home.below(f"buyer-{number}").prepare(), urls, demo=True))
            )
            await nodes[-1].create_wallet(WALLET, PASSPHRASE)
            await nodes[-1].faucet(WALLET)
        yield nodes


async def measure(name: str, folder: Path, rounds: int, first_pairs: int) -> list[Result]:
    """All rounds of one model."""
    model, tokens = await asyncio.to_thread(make_model, SHAPES[name]), OUTPUT_TOKENS[name]
    home = Home(folder / f"home-{name}").prepare()
    config = Config(slots=SLOTS, context_length=CONTEXT_TOKENS)
    results = []
    async with running_demo(home, config) as demo:
        await prepare(demo, home)
        await demo.seller.go_offline()
        await demo.seller.go_online(str(model))
        async with buyers(demo, home, config) as nodes:
            engine = await engine_behind(nodes[0])
            path, direct = through_market(nodes[0], FIRST_TOKENS), through_engine(engine, FIRST_TOKENS)
            results += first_figures(name, await first_tokens(path, direct, first_pairs))
            for streams in STREAMS:
                sides: dict[str, list[Ask]] = {
                    "path": [through_market(node, tokens) for node in nodes[:streams]],
                    "direct": [through_engine(engine, tokens, asker) for asker in range(streams)],
                }
                apart_s = APART_TOKENS / (await engine.measure()).tokens_per_s
                results += figures(name, streams, await pairs(sides, streams, rounds, apart_s))
    return results


async def engine_behind(buyer: NodeApi) -> LlamaEngine:
    """The seller's engine, by asking it something."""
    with watched() as clock:
        await one_round([through_market(buyer, FIRST_TOKENS)], ["Say nothing."])
    assert clock.engine is not None
    return clock.engine


async def pairs(sides: dict[str, list[Ask]], streams: int, rounds: int, apart_s: float) -> list[dict[str, PathSample]]:
    """One uncounted round to open channels and warm caches, then pairs whose order alternates."""
    measured = []
    for number in range(rounds + 1):
        print(f"{streams} of {SLOTS} streams: pair {number} of {rounds}", file=sys.stderr, flush=True)
        order = ("path", "direct") if number % 2 else ("direct", "path")
        pair = {}
        for side in order:
            prompts = [f"Say {number} {stream}." for stream in range(streams)]
            pair[side] = await one_round(sides[side], prompts, apart_s=apart_s)
        if number:
            measured.append(pair)
    return measured


@dataclass(frozen=True)
class FirstToken:
    """One question asked both ways."""

    before_ms: float
    """From the question to the moment the seller's engine was asked."""
    after_ms: float
    """From that engine's first text to the buyer's screen."""
    path_ms: float
    direct_ms: float


async def first_tokens(path: Ask, direct: Ask, questions: int) -> list[FirstToken]:
    """Ask questions one at a time, each both ways; the first three only open the channel and warm caches."""
    measured = []
    with watched() as clock:
        for number in range(-3, questions):
            prompts = (f"Say {number} first.", f"Say {number} again.")
            direct_ms = (await one_round([direct], prompts[:1])).first_token_ms
            began_s = time.perf_counter()
            path_ms = (await one_round([path], prompts[1:])).first_token_ms
            before_ms = (clock.asked_s - began_s) * 1_000
            after_ms = path_ms - (clock.text_s - began_s) * 1_000
            if number >= 0:
                measured.append(FirstToken(before_ms, after_ms, path_ms, direct_ms))
    return measured


def first_figures(name: str, measured: Sequence[FirstToken]) -> list[Result]:
    """What relay, seal and voucher add to the first token: usually, and at worst in a hundred."""
    added = [one.before_ms + one.after_ms for one in measured]
    clock, alone = "a clock at both ends", "engine alone"
    return [
        median_of(f"{name}: added to the first token", added, "ms", against=clock, at_most=5),
        median_of(f"{name}: the same, 99th percentile", [percentile_99(added)], "ms", against=clock, at_most=15),
        median_of(f"{name}: of it before the engine", [one.before_ms for one in measured], "ms", against=clock),
        median_of(f"{name}: of it after the engine", [one.after_ms for one in measured], "ms", against=clock),
        median_of(f"{name}: first token, path", [one.path_ms for one in measured], "ms", against="the same, direct"),
        median_of(f"{name}: first token, direct", [one.direct_ms for one in measured], "ms", against=alone),
    ]


def percentile_99(samples: Sequence[float]) -> float:
    """What one in a hundred exceeds."""
    return statistics.quantiles(samples, n=100, method="inclusive")[-1]


def figures(name: str, streams: int, measured: Sequence[dict[str, PathSample]]) -> list[Result]:
    """Ratios within each pair, and what they are ratios of."""
    ratios = [pair["path"].tokens_per_s / pair["direct"].tokens_per_s for pair in measured]
    added = [pair["path"].first_token_ms - pair["direct"].first_token_ms for pair in measured]
    label = f"{name}, {streams} stream{'s' if streams > 1 else ''}"
    direct = [pair["direct"].tokens_per_s for pair in measured]
    return [
        median_of(f"{label}: path / direct tokens/s", ratios, "ratio", against="engine, same run", at_least=0.98),
        median_of(f"{label}: added to the first token", added, "ms", against="engine, same run"),
        median_of(f"{label}: direct", direct, "tok/s", against="engine alone"),
    ]


async def run(names: Sequence[str], rounds: int, first_pairs: int) -> str:
    """Measure every model asked for."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results += await measure(name, Path(folder), rounds, first_pairs)
    return report("path", results)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=SHAPES, help="default: both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first-pairs", type=int, default=FIRST_PAIRS, help="questions for the first token")
    options = parser.parse_args()
    print(asyncio.run(run(options.model or list(SHAPES), options.rounds, options.first_pairs)))


if __name__ == "__main__":
    main()
