"""Where the engine and its peers are measured: one model, the same settings, all of them loaded at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from bench import peers
from bench.make_model import ModelShape, make_model, text_of
from bench.sides import Contender, LlamaServer, OurEngine, PythonServer, question, together
from node.engine.llama import LlamaEngine
from node.engine.options import EngineOptions, StreamLimits
from node.engine.worker.native import llama

SLOTS = 16
CONTEXT_TOKENS = 2_560
BATCH_TOKENS = 512
WARM_TOKENS = 4
WAITING = ("GOMP_", "OMP_", "KMP_")


@dataclass
class Testbed:
    """What is measured, and prompts for it that nobody has seen before."""

    shape: ModelShape
    load: peers.PeerSettings
    programs: peers.Programs
    engine: LlamaEngine
    ours: Contender
    server: Contender
    python: Contender | None
    folder: Path
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    @property
    def pair(self) -> tuple[Contender, Contender]:
        """The engine and `llama-server`."""
        return self.ours, self.server

    def words(self, count: int) -> str:
        """Fresh words of four letters: a token each, after the first."""
        common = 26 + 26**2 + 26**3
        last = min(self.shape.vocabulary - 300, common + 26**4)
        first = common if last > 2 * common else 0
        return text_of(self.random.integers(first, last, count).tolist(), self.shape)

    async def prompt_tokens(self, text: str) -> int:
        """Tokens of a conversation of one message."""
        return await self.engine.count(question(text))


def new_engine(model: Path, log: Path, slots: int) -> LlamaEngine:
    """An engine as a node makes it, but for a fixed number of threads and a context that fits the longest prompt."""
    threads = psutil.cpu_count(logical=False) or 1
    return LlamaEngine(
        model,
        EngineOptions(slots=slots, context_length=CONTEXT_TOKENS, threads=threads),
        limits=StreamLimits(queue_limit=SLOTS),
        log_path=log,
    )


def load_of(engine: LlamaEngine, model: Path) -> peers.PeerSettings:
    """What the engine chose for this model on this machine, for the others to be given the same."""
    prepared = engine.prepared
    assert prepared is not None
    chosen = prepared.load
    return peers.PeerSettings(
        model=model,
        threads=chosen.threads.single,
        slots=chosen.options.slots,
        cache_tokens=chosen.fit.cache_tokens,
        batch_tokens=BATCH_TOKENS,
        micro_batch_tokens=chosen.fit.micro_batch_tokens,
        flash_attention=chosen.fit.flash_attention,
        repack=not crashes_when_repacked(),
        waiting=waiting_of(engine),
    )


def waiting_of(engine: LlamaEngine) -> tuple[tuple[str, str], ...]:
    """What the engine told its worker's compute threads about waiting for each other."""
    given = psutil.Process(engine.worker_pid).environ()
    return tuple(sorted((name, value) for name, value in given.items() if name.startswith(WAITING)))


def crashes_when_repacked() -> bool:
    """Whether the engine leaves out llama.cpp's rearranged weights here: see `node/engine/worker/model.py`."""
    return b"AMX_INT8 = 1" in llama.llama_print_system_info()


@asynccontextmanager
async def testbed(shape: ModelShape, folder: Path, *, with_python: bool) -> AsyncIterator[Testbed]:
    """Everything loaded and warm, until the block ends."""
    programs = await asyncio.to_thread(peers.build)
    model = await asyncio.to_thread(make_model, shape)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(new_engine(model, folder / "engine.log", SLOTS))
        load = load_of(engine, model)
        client = await stack.enter_async_context(
            # A connection a request: one that is kept may be closed by the server just as it is used again.
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=2 * SLOTS, force_close=True),
            )
        )
        server = await stack.enter_async_context(peers.llama_server(programs, load, folder / "llama-server.log"))
        python: Contender | None = None
        if with_python:
            url = await stack.enter_async_context(peers.python_server(load, folder / "python-server.log"))
            python = PythonServer(client, url)
        ready = Testbed(
            shape, load, programs, engine, OurEngine(engine), LlamaServer(client, server), python, folder=folder
        )
        for side, streams in ((ready.ours, SLOTS), (ready.server, SLOTS), *([(python, 1)] if python else [])):
            await together(side, [ready.words(8) for _ in range(streams)], WARM_TOKENS)
        yield ready
