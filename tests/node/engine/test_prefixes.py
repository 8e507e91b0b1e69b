"""Prefix reuse, preemption, and queues, through a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from node.engine.llama import LlamaEngine
from node.engine.loading import HostMachine
from node.engine.protocol import GenerateRequest
from node.models.fit import plan
from node.models.gguf import inspect
from node.models.model_error import ModelError
from node.values.inference import ChatMessage
from tests.node.engine.helpers import GREEDY, answer, ask
from tests.node.engine.tiny_mamba import write_tiny_mamba

Make = Callable[..., LlamaEngine]
SYSTEM = ChatMessage("system", "the model and the user of the system " * 6)


def turn(messages: tuple[ChatMessage, ...], request_id: str, **more: object) -> GenerateRequest:
    return GenerateRequest(
        request_id=request_id,
        messages=messages,
        max_tokens=12,
        sampling=GREEDY,
        **more,  # type: ignore[arg-type]
    )


async def chat(engine: LlamaEngine, *, turns: int = 4, **more: object) -> list[str]:
    messages: tuple[ChatMessage, ...] = (SYSTEM,)
    texts = []
    for number in range(turns):
        messages += (ChatMessage("user", f"hello {number}"),)
        text, *_ = await answer(engine, turn(messages, f"{number}", **more))
        texts.append(text)
        messages += (ChatMessage("assistant", text),)
    return texts


async def test_a_chat_is_the_same_whether_its_beginning_is_reused_or_not(make_engine: Make, tiny_model: Path):
    async with make_engine(tiny_model) as engine:
        reused = await chat(engine)
    alone = []
    messages: tuple[ChatMessage, ...] = (SYSTEM,)
    for number, text in enumerate(reused):
        messages += (ChatMessage("user", f"hello {number}"),)
        async with make_engine(tiny_model) as engine:
            alone.append((await answer(engine, turn(messages, "x")))[0])
        messages += (ChatMessage("assistant", text),)
    assert reused == alone


async def test_a_recurrent_model_is_served_and_chats_go_on(make_engine: Make, tmp_path: Path):
    model = write_tiny_mamba(tmp_path / "mamba.gguf")
    async with make_engine(model, slots=2) as engine:
        first = await chat(engine)
        assert await chat(engine, cache_key="another") == first
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(engine, ask("hello", max_tokens=30))) for _ in range(4)]
        assert len({task.result()[0] for task in tasks}) == 1


def least_memory_bytes(model: Path, **wanted: int) -> int:
    """The least memory with which a model is loaded at all."""
    info, too_little, enough = inspect(model), 0, 1 << 40
    while enough - too_little > 1:
        middle = (too_little + enough) // 2
        try:
            plan(info, available_bytes=middle, **wanted)
        except ModelError:
            too_little = middle
        else:
            enough = middle
    return enough


async def test_more_than_the_cache_holds_at_once_is_answered_in_full(make_engine: Make, tiny_model: Path):
    questions = [f"hello {number}" for number in range(6)]
    async with make_engine(tiny_model, slots=1, context_length=256) as engine:
        alone = [(await answer(engine, ask(question, max_tokens=100)))[0] for question in questions]

    machine = HostMachine(available_memory_bytes=lambda: least_memory_bytes(tiny_model, slots=6, context_length=256))
    async with make_engine(tiny_model, slots=6, context_length=256, machine=machine) as engine:
        assert engine.prepared.fit.cache_tokens == 256, "one request's context is all the cache there is"
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(engine, ask(question, max_tokens=100))) for question in questions]
        together = [task.result() for task in tasks]
    # Batches of other sizes change low bits, so late tokens may differ; that nothing is lost or said twice where one
    # is preempted is held exactly in tests/node/engine/worker/test_loop.py.
    assert [text[:12] for text, *_ in together] == [text[:12] for text in alone]
    assert all(finished.output_tokens == 100 for *_, finished in together)
