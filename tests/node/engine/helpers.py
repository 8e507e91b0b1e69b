"""What the engine's tests say again and again."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import msgspec

from node.engine import ipc
from node.engine.llama import LlamaEngine
from node.engine.options import EngineOptions, StreamLimits
from node.engine.process import Lifecycle
from node.engine.protocol import Chunk, Finished, GenerateRequest, Started
from node.engine.threads import Threads
from node.models.fit import Fit
from node.values.inference import ChatMessage, Sampling
from tests.node.engine.tiny import CHATML

GREEDY = Sampling(temperature=0)
_numbers = itertools.count()


def ask(text: str = "hello", *, max_tokens: int = 24, sampling: Sampling = GREEDY, **more: object) -> GenerateRequest:
    more.setdefault("request_id", f"request-{next(_numbers)}")
    return GenerateRequest(messages=(ChatMessage("user", text),), max_tokens=max_tokens, sampling=sampling, **more)


async def answer(engine: LlamaEngine, request: GenerateRequest) -> tuple[str, Started, Finished]:
    """Run a request to its end, and check what holds for every stream."""
    events = [event async for event in engine.generate(request)]
    started, *chunks, finished = events
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert all(isinstance(chunk, Chunk) and chunk.text for chunk in chunks)
    text = "".join(chunk.text for chunk in chunks)
    assert (
        finished.output_tokens == sum(chunk.tokens for chunk in chunks) <= min(len(text.encode()), request.max_tokens)
    )
    assert finished.input_tokens == started.input_tokens
    return text, started, finished


def engine_of(model: Path, log_path: Path, **settings: Any) -> LlamaEngine:
    """An engine over a model; each setting goes where it is declared."""

    def taken(kind: type[msgspec.Struct] | type[Lifecycle]) -> dict[str, Any]:
        return {name: settings.pop(name) for name in kind.__annotations__ if name in settings}

    settings.setdefault("threads", 1)
    options, limits = EngineOptions(**taken(EngineOptions)), StreamLimits(**taken(StreamLimits))
    lifecycle = Lifecycle(**taken(Lifecycle))
    return LlamaEngine(model, options, limits=limits, lifecycle=lifecycle, log_path=log_path, **settings)


def load_frame(path: Path, context_length: int, cache_tokens: int, **more: Any) -> ipc.Load:
    """What a worker is told first; `more` are options and limits by their names, and fields of the frame."""
    options = {name: more.pop(name) for name in EngineOptions.__struct_fields__ if name in more}
    limits = {name: more.pop(name) for name in StreamLimits.__struct_fields__ if name in more}
    chosen = EngineOptions(**options)
    fit = Fit(
        context_length=context_length,
        cache_tokens=cache_tokens,
        micro_batch_tokens=128,
        flash_attention=False,
        weights_bytes=0,
        cache_bytes=0,
        work_bytes=0,
        slots=chosen.slots,
    )
    threads = Threads(chosen.threads or 1, chosen.threads or 1)
    return ipc.Load(os.fsencode(path), CHATML, chosen, StreamLimits(**limits), fit, threads, **more)
