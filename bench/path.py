"""What the market costs: speed and first token through relay, seal and vouchers, against those of the engine alone.

Both run the same model file with the same settings in the same run, one after the other, again and again; the ratios
are taken within each pair. Weights are random, so that hardly an answer ends before its limit. Streams begin a little
apart, as people do: prompts that come within one millisecond would be read as one batch, and a path that spreads them
by ten would be charged with a whole batch.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from app.config import Config
from app.demo import DEMO_PRICES, WALLET, Demo, prepare, running_demo
from app.home import Home
from app.wiring import local_node
from bench.report import Result, median_of, report
from node.api import NodeApi
from node.engine.llama import LlamaEngine
from node.engine.protocol import Chunk, GenerateRequest
from node.models.demo import demo_model_path
from node.models.demo.export import Shape, read_tokenizer, write_gguf
from node.values import ChatDelta, ChatDone, ChatFailed, ChatMessage, ChatTurn, Sampling

SHAPES = {
    "demo": Shape(),
    "41M": Shape(width=512, layers=12, heads=8, hidden=1_536),
    "0.4B": Shape(width=896, layers=24, heads=14, hidden=4_864),
}
STREAMS = (1, 4)
SLOTS = 4
APART_TOKENS = 20
"""Tokens that a lone stream makes between the starts of two."""
OUTPUT_TOKENS = {"demo": 400, "41M": 200, "0.4B": 64}
PASSPHRASE = "bench"
SAMPLING = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=7)


@dataclass(frozen=True)
class Sample:
    """One round: all streams' tokens over the time from first start to last end, and the median first token."""

    tokens_per_s: float
    first_token_ms: float


def random_model(folder: Path, name: str) -> Path:
    """A llama of a real shape with random weights and the demo's vocabulary."""
    shape, path, draw = SHAPES[name], folder / f"random-{name}.gguf", np.random.default_rng(7)
    sizes = {
        "attn_q": (shape.width, shape.width),
        "attn_k": (shape.width, shape.width),
        "attn_v": (shape.width, shape.width),
        "attn_output": (shape.width, shape.width),
        "ffn_gate": (shape.hidden, shape.width),
        "ffn_up": (shape.hidden, shape.width),
        "ffn_down": (shape.width, shape.hidden),
    }
    weights = {"token_embd.weight": draw.normal(0, 0.02, (shape.vocabulary, shape.width))}
    for layer in range(shape.layers):
        weights |= {f"blk.{layer}.{part}.weight": draw.normal(0, 0.02, size) for part, size in sizes.items()}
        weights |= {f"blk.{layer}.{norm}.weight": np.ones(shape.width) for norm in ("attn_norm", "ffn_norm")}
    weights["output_norm.weight"] = np.ones(shape.width)
    write_gguf(
        path,
        shape,
        {key: value.astype(np.float32) for key, value in weights.items()},
        read_tokenizer(demo_model_path()),
    )
    return path


async def one_round(
    ask: Sequence[Callable[[str], AsyncIterator[int]]], prompts: Sequence[str], *, apart_s: float = 0.0
) -> Sample:
    """Run every stream, each ``apart_s`` after the one before; each yields token counts as they come."""

    async def stream(number: int, asking: Callable[[str], AsyncIterator[int]], prompt: str) -> tuple[int, float]:
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
    return Sample(sum(total for total, _ in done) / seconds, statistics.median(first for _, first in done))


def through_engine(engine: LlamaEngine, tokens: int) -> Callable[[str], AsyncIterator[int]]:
    """Ask the engine itself."""

    async def ask(prompt: str) -> AsyncIterator[int]:
        request = GenerateRequest(
            request_id=f"direct {prompt}",
            messages=(ChatMessage("user", prompt),),
            max_tokens=tokens,
            sampling=SAMPLING,
        )
        async for event in engine.generate(request):
            if isinstance(event, Chunk):
                yield event.tokens

    return ask


def through_market(buyer: NodeApi, tokens: int) -> Callable[[str], AsyncIterator[int]]:
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


async def measure(name: str, folder: Path, rounds: int) -> list[Result]:
    """All rounds of one model."""
    model, tokens = await asyncio.to_thread(random_model, folder, name), OUTPUT_TOKENS[name]
    home, config = Home(folder / f"home-{name}").prepare(), Config()
    results = []
    async with running_demo(home, config) as demo:
        await prepare(demo, home)
        await demo.seller.go_offline()
        await demo.seller.go_online(str(model), DEMO_PRICES)
        async with (
            buyers(demo, home, config) as nodes,
            LlamaEngine(model, log_path=folder / "direct.log", slots=SLOTS) as engine,
        ):
            for streams in STREAMS:
                sides: dict[str, list[Callable[[str], AsyncIterator[int]]]] = {
                    "path": [through_market(node, tokens) for node in nodes[:streams]],
                    "direct": [through_engine(engine, tokens)] * streams,
                }
                apart_s = APART_TOKENS / (await engine.measure()).tokens_per_s
                results += figures(name, streams, await pairs(sides, streams, rounds, apart_s))
    return results


async def pairs(
    sides: dict[str, list[Callable[[str], AsyncIterator[int]]]], streams: int, rounds: int, apart_s: float
) -> list[dict[str, Sample]]:
    """One uncounted round to open channels and warm caches, then pairs whose order alternates."""
    measured = []
    for number in range(rounds + 1):
        order = ("path", "direct") if number % 2 else ("direct", "path")
        pair = {}
        for side in order:
            prompts = [f"Say {number} {stream}." for stream in range(streams)]
            pair[side] = await one_round(sides[side], prompts, apart_s=apart_s)
        if number:
            measured.append(pair)
    return measured


def figures(name: str, streams: int, measured: Sequence[dict[str, Sample]]) -> list[Result]:
    """Ratios within each pair, and what they are ratios of."""
    ratios = [pair["path"].tokens_per_s / pair["direct"].tokens_per_s for pair in measured]
    added = [pair["path"].first_token_ms - pair["direct"].first_token_ms for pair in measured]
    label = f"{name}, {streams} stream{'s' if streams > 1 else ''}"
    direct = [pair["direct"].tokens_per_s for pair in measured]
    return [
        median_of(f"{label}: path / direct tokens/s", ratios, "ratio", against="engine, same run", at_least=0.95),
        median_of(f"{label}: added to the first token", added, "ms", against="engine, same run", at_most=20),
        median_of(f"{label}: direct", direct, "tok/s", against="engine alone"),
    ]


async def run(names: Sequence[str], rounds: int) -> str:
    """Measure every model asked for."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results += await measure(name, Path(folder), rounds)
    return report("path", results)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=SHAPES, help="default: 41M and 0.4B")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(asyncio.run(run(options.model or ["41M", "0.4B"], options.rounds)))


if __name__ == "__main__":
    main()
