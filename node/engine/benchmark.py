"""Measures how fast a model is on this machine, at several streams at once, and keeps what was measured.

Prefill is measured with prompts that share nothing and answers of one token; decoding with short prompts and as many
streams kept busy for some seconds, however short the model's answers are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from chain.errors import IdlewattError
from node.engine.llama import LlamaEngine
from node.engine.options import EngineOptions
from node.engine.protocol import Chunk, Engine, EngineError, EngineInfo, Finished, GenerateRequest
from node.models.digest import DigestCache
from node.models.discovery import FoundModel
from node.values.inference import ChatMessage, Sampling
from node.values.models import BenchRow, BenchView
from node.values.text import plain

STREAMS: Final = (1, 2, 4, 8)
PROMPT_TOKENS: Final = 512
MIN_PROMPT_TOKENS: Final = 32
CONTEXT_TOKENS: Final = 1_024
PREFILL_S: Final = 6.0
"""What a measurement of the prefill may take about: the prompts are as long as that allows."""
DECODE_S: Final = 4.0
PATIENCE_S: Final = 300.0
MAX_HISTORY: Final = 500
MAX_HISTORY_BYTES: Final = 1 << 20
HISTORY_FILE: Final = "bench.jsonl"
_SAMPLING: Final = Sampling(temperature=0.8)
_STORY: Final = "Tell a very long story about a lighthouse, a cat and the sea, and do not stop before I say so."
_WORDS: Final = ("river", "stone", "light", "paper", "green", "seven", "window", "table", "garden", "silver")


@contextlib.asynccontextmanager
async def engine_for(
    found: FoundModel, models_dir: Path, log_path: Path, *, threads: int | None, gpu_layers: int
) -> AsyncIterator[LlamaEngine]:
    """An engine with a slot for every stream, for as long as the block runs.

    Args:
        found: The model.
        models_dir: The home's models folder, which keeps digests.
        log_path: Where the worker's output goes.
        threads: Processor threads; None for the rule.
        gpu_layers: Layers put on the GPU; -1 for all of them.

    Raises:
        LoadError: If the model can't be loaded, or doesn't fit.
    """
    engine = LlamaEngine(
        found.path,
        EngineOptions(context_length=CONTEXT_TOKENS, slots=max(STREAMS), threads=threads, gpu_layers=gpu_layers),
        name=plain(found.name, 96),
        log_path=log_path,
        digest_cache=DigestCache(models_dir / ".digests.json"),
    )
    async with engine:
        yield engine


async def measure(
    engine: Engine,
    streams: Sequence[int] = STREAMS,
    *,
    prompt_tokens: int = PROMPT_TOKENS,
    decode_s: float = DECODE_S,
) -> AsyncIterator[BenchRow]:
    """A row for each number of streams, as it is measured.

    Args:
        engine: What is measured; nothing else may use it meanwhile.
        streams: Numbers of streams, each measured in turn.
        prompt_tokens: Tokens of each prompt at most.
        decode_s: For how long all streams are kept busy.

    Raises:
        EngineError: If the engine fails, or brings nothing for minutes.
    """
    info = await engine.info()
    prompt_tokens = min(prompt_tokens, info.context_length // 2)
    speed = 0.0
    for count in streams:
        if speed:
            prompt_tokens = int(max(MIN_PROMPT_TOKENS, min(prompt_tokens, speed * PREFILL_S / count)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                prefill, ttft_ms = await _prefill(engine, count, prompt_tokens)
                decode = await _decode(engine, count, info.context_length, decode_s)
        except TimeoutError:
            raise EngineError(
                f"The model brought too little in {PATIENCE_S:.0f} s.", fix="Choose a smaller one for this machine."
            ) from None
        speed = prefill
        yield BenchRow(streams=count, prompt_tokens_per_s=prefill, decode_tokens_per_s=decode, ttft_ms=ttft_ms)


async def _prefill(engine: Engine, streams: int, tokens: int) -> tuple[float, float]:
    """Prompt tokens per second over all streams, and the mean time to the first token in milliseconds."""
    prompts = [await _prompt(engine, tokens) for _ in range(streams)]
    began = time.perf_counter()

    async def one(prompt: str) -> tuple[int, float]:
        finished, first = None, 0.0
        async for event in engine.generate(_request(prompt, 1)):
            first = first or (time.perf_counter() - began if isinstance(event, Chunk | Finished) else 0.0)
            if isinstance(event, Finished):
                finished = event
        return finished.input_tokens if finished else 0, first

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(prompt)) for prompt in prompts]
    took = time.perf_counter() - began
    results = [task.result() for task in running]
    return sum(read for read, _ in results) / took, 1000 * sum(first for _, first in results) / streams


async def _decode(engine: Engine, streams: int, context_length: int, seconds: float) -> float:
    """Tokens per second over all streams while all of them are busy."""
    first, more = [asyncio.Event() for _ in range(streams)], asyncio.Event()
    written = 0

    async def one(begun: asyncio.Event) -> None:
        nonlocal written
        while True:
            async for event in engine.generate(_request(f"{_mark()} {_STORY}", context_length // 2)):
                if isinstance(event, Chunk):
                    written += event.tokens
                    begun.set()
                    more.set()

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(begun)) for begun in first]
        for begun in first:
            waiting = tasks.create_task(begun.wait())
            await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
        before, began = written, time.perf_counter()
        await asyncio.sleep(seconds)
        if written == before:  # it is slow: go on until the next piece
            more.clear()
            await more.wait()
        speed = (written - before) / (time.perf_counter() - began)
        for task in running:
            task.cancel()
    return speed


async def _prompt(engine: Engine, tokens: int) -> str:
    """A prompt of about so many tokens that begins as no other does."""
    text = " ".join([_mark(), *random.choices(_WORDS, k=tokens)])  # noqa: S311 - no secret
    counted = await engine.count((ChatMessage("user", text),))
    return text if counted <= tokens else text[: max(8, len(text) * tokens // counted)]


def _mark() -> str:
    return f"{random.getrandbits(48):x}"


def _request(text: str, max_tokens: int) -> GenerateRequest:
    return GenerateRequest(
        request_id=f"bench-{_mark()}", messages=(ChatMessage("user", text),), max_tokens=max_tokens, sampling=_SAMPLING
    )


def summary(name: str, info: EngineInfo, rows: Sequence[BenchRow], *, threads: int | None) -> BenchView:
    """What was measured, to be kept.

    Args:
        name: What the model is called.
        info: What was loaded.
        rows: One for each number of streams.
        threads: Processor threads that were asked for; None for the rule.
    """
    return BenchView(
        model=name,
        model_sha256=info.model_sha256,
        at_ms=time.time_ns() // 1_000_000,
        engine_build=info.engine_build,
        backend=info.backend,
        threads=threads or 0,
        context_length=info.context_length,
        rows=tuple(rows),
    )


# -- what was measured before --------------------------------------------------------------------------------------


def history(models_dir: Path, max_entries: int = MAX_HISTORY) -> tuple[BenchView, ...]:
    """Every measurement of this home, the newest first; lines that can't be read are left out."""
    path = models_dir / HISTORY_FILE
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - MAX_HISTORY_BYTES))
            lines = file.read(MAX_HISTORY_BYTES).splitlines()
    except OSError:
        return ()
    found = []
    for line in reversed(lines[-max_entries:]):
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=BenchView))
    return tuple(found)


def keep(models_dir: Path, measured: BenchView, max_entries: int = MAX_HISTORY) -> None:
    """Add a measurement to the history, which keeps the newest ones.

    Args:
        models_dir: The home's models folder.
        measured: The new measurement.
        max_entries: Measurements kept.

    Raises:
        IdlewattError: With code ``disk_full`` or ``home_unusable`` if it can't be written.
    """
    path = models_dir / HISTORY_FILE
    earlier = reversed(history(models_dir, max_entries))
    lines = [msgspec.json.encode(entry) for entry in (*earlier, measured)][-max_entries:]
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(b"\n".join(lines) + b"\n")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise IdlewattError(
            f"The measurement can't be kept: {error.strerror}.", code="home_unusable", fix="Check the models folder."
        ) from None


def known_speed(models_dir: Path, info: EngineInfo) -> tuple[float, float] | None:
    """Tokens per second of one stream and time to the first token as last measured for this file, build and backend."""
    for entry in history(models_dir):
        same = (entry.model_sha256, entry.engine_build, entry.backend) == (
            info.model_sha256,
            info.engine_build,
            info.backend,
        )
        row = next((row for row in entry.rows if row.streams == 1), None)
        if same and row is not None and row.decode_tokens_per_s > 0:
            return row.decode_tokens_per_s, row.ttft_ms
    return None
