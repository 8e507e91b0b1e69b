"""What ``fit`` says before loading, against what llama.cpp then reports for models of many shapes, in a real worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from node.engine.llama import LlamaEngine
from node.models.fit import available_memory_bytes, headroom_bytes
from node.models.gguf import inspect
from node.models.work_space import ContextShape, cache_bytes, embed_context, score_context, work_bytes
from node.values.inference import ChatMessage
from tests.node.engine.bert import write_bert
from tests.node.engine.helpers import answer, ask
from tests.node.models.kinds import KINDS
from tests.node.models.shapes import write_shape

Make = Callable[..., LlamaEngine]
MIB = 1 << 20
TOLERANCE = 0.10
_BUFFER = re.compile(r"(\w+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
ROOMY: dict[str, Any] = {"slots": 4, "context_length": 2048}
LOADS: dict[str, dict[str, Any]] = {
    "one short slot": {"slots": 1, "context_length": 512},
    "one long slot": {"slots": 1, "context_length": 8192},
    "16 slots": {"slots": 16, "context_length": 512},
    "flash attention": ROOMY | {"flash_attention": True},
    "a q8_0 cache": ROOMY | {"kv_type": "q8_0"},
    "a q4_0 cache": ROOMY | {"kv_type": "q4_0"},
    "16 slots, flash attention": {
        "slots": 16, "context_length": 512, "flash_attention": True,
    },
}  # fmt: skip
VARIED = (
    ("llama, few key heads", "one short slot"),
    ("llama, few key heads", "a q8_0 cache"),
    ("llama, a large vocabulary", "16 slots"),
    ("llama, a large vocabulary", "16 slots, flash attention"),
    ("gemma3, a sliding window", "one short slot"),
    ("gemma3, a sliding window", "flash attention"),
    ("qwen3moe, experts", "one long slot"),
    ("qwen3moe, experts", "a q4_0 cache"),
    ("deepseek2, latent attention", "flash attention"),
    ("mamba2", "16 slots"),
    ("rwkv7", "one short slot"),
)


def taken(log: str) -> dict[str, int]:
    """Bytes of each kind of buffer in llama.cpp's own lines."""
    sums = dict.fromkeys(("model", "KV", "RS", "compute", "output"), 0)
    for _, kind, mib in _BUFFER.findall(log):
        sums[kind] += int(float(mib) * MIB)
    return sums


async def check(path: Path, tmp_path: Path, make_engine: Make, load: dict[str, Any]) -> None:
    info = inspect(path)
    async with make_engine(path, **load) as engine:
        fit = engine.prepared.fit
        log = (tmp_path / "logs" / "engine.log").read_text()
    found = taken(log)
    # Weights that were mapped and then laid out anew don't count twice.
    assert found["model"] > 0.9 * info.tensor_bytes
    cache, work = found["KV"] + found["RS"], found["compute"] + found["output"]
    total = min(found["model"], info.tensor_bytes) + cache + work
    assert fit.needed_bytes == pytest.approx(total, rel=TOLERANCE), (fit, log[-2000:])
    # Each part by itself too: weights of any size would hide an error in the others.
    assert fit.cache_bytes == pytest.approx(cache, rel=0.01)
    assert fit.work_bytes == pytest.approx(work, rel=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_estimate_is_within_a_tenth_of_what_llama_cpp_takes(kind: str, tmp_path: Path, make_engine: Make):
    await check(write_shape(tmp_path / "shape.gguf", KINDS[kind]), tmp_path, make_engine, ROOMY)


@pytest.mark.parametrize(("kind", "load"), VARIED)
async def test_the_estimate_holds_for_every_way_to_load_a_model(
    kind: str, load: str, tmp_path: Path, make_engine: Make
):
    await check(write_shape(tmp_path / "shape.gguf", KINDS[kind]), tmp_path, make_engine, LOADS[load])


def resident_bytes(pid: int) -> int:
    """What a process holds in memory now, without what it shares with other processes of its kind counted twice."""
    return int(psutil.Process(pid).memory_info().rss)


@pytest.mark.parametrize("kind", ["llama, many heads", "llama, a large vocabulary", "mamba2"])
async def test_the_worker_as_a_whole_stays_within_what_was_planned_and_its_headroom(
    kind: str, tmp_path: Path, make_engine: Make
):
    path = write_shape(tmp_path / "shape.gguf", KINDS[kind])
    async with make_engine(path, **ROOMY) as engine:
        _, _, finished = await answer(engine, ask("hello " * 200, max_tokens=16))
        assert finished.input_tokens > 200
        held, fit = resident_bytes(engine.worker_pid), engine.prepared.fit
    assert held <= fit.total_bytes + headroom_bytes(available_memory_bytes())
    assert fit.total_bytes == pytest.approx(held, rel=0.25)


def beside(path: Path, shape: ContextShape) -> int:
    info = inspect(path)
    return cache_bytes(info, shape) + work_bytes(info, shape)


@pytest.mark.parametrize(
    "kind", ["llama, many heads", "llama, a large vocabulary", "gemma3, a sliding window", "mamba2"]
)
async def test_what_scores_and_embeddings_take_beside_the_streams_is_known(
    kind: str, tmp_path: Path, make_engine: Make
):
    path = write_shape(tmp_path / "shape.gguf", KINDS[kind])
    written = tmp_path / "logs" / "engine.log"
    async with make_engine(path, **ROOMY) as engine:
        before = len(written.read_text())
        await engine.score([5] * 300, [7] * 8)
        scored = written.read_text()[before:]
        before += len(scored)
        text = "a" * 300
        tokens = await engine.count([ChatMessage("user", text)])
        assert 300 <= tokens < 400
        await engine.embed([text])
        embedded = written.read_text()[before:]
    score = beside(path, score_context(308, flash_attention=False))
    embed = beside(path, embed_context(tokens, flash_attention=False))
    assert score == pytest.approx(sum(taken(scored).values()), rel=TOLERANCE)
    # A model without pooling of its own is asked for its mean: that is a second context, after the first was freed.
    assert 2 * embed == pytest.approx(sum(taken(embedded).values()), rel=TOLERANCE)


async def test_an_embedding_model_is_planned_with_the_context_that_its_texts_need(tmp_path: Path, make_engine: Make):
    path = write_bert(tmp_path / "bert.gguf", width=512)
    async with make_engine(path) as engine:
        fit = engine.prepared.fit
        await engine.embed(["a b c"])
        log = (tmp_path / "logs" / "engine.log").read_text()
    found = taken(log)
    assert found["KV"] == fit.cache_bytes == 0
    assert fit.work_bytes == pytest.approx(found["compute"] + found["output"], rel=TOLERANCE)
    assert fit.needed_bytes == pytest.approx(sum(found.values()), rel=TOLERANCE)
