"""Model files that lie, with real workers: each is refused in one clear line or served, and leaves no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from node.engine.llama import LlamaEngine
from node.engine.loading import HostMachine
from node.engine.protocol import EngineError, LoadError
from tests.node.engine.helpers import answer, ask
from tests.node.engine.tiny import vocabulary, write_tiny
from tests.node.models.lies import lie
from tests.node.models.shapes import Shape, write_shape

Make = Callable[..., LlamaEngine]
TOKENS = vocabulary()[0]
COUNT = len(TOKENS)


async def fails_to_start(engine: LlamaEngine) -> EngineError:
    with pytest.raises(EngineError) as error:
        await engine.start()
    assert error.value.line().isprintable()
    assert error.value.fix
    assert engine.worker_pid is None
    assert engine.state.name == "failed"
    assert not any("node.engine.worker" in child.cmdline() for child in psutil.Process().children(recursive=True))
    return error.value


@pytest.mark.parametrize("layers", [0, 513, (1 << 32) - 1])
async def test_layers_on_which_llama_cpp_aborts_are_refused_without_a_worker(
    make_engine: Make, tiny_model: Path, tmp_path: Path, layers: int
):
    error = await fails_to_start(make_engine(lie(tiny_model, tmp_path / "lie.gguf", {"llama.block_count": layers})))
    assert isinstance(error, LoadError)
    assert "layers" in error.message
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "keys",
    [
        {"llama.attention.head_count": 0},
        {"llama.attention.head_count": 3},
        {"llama.attention.head_count_kv": 3},
        {"llama.block_count": 3},
        {"llama.embedding_length": 32},
        {"llama.embedding_length": "many"},
        {"llama.rope.dimension_count": 15},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.tokens": TOKENS[:-9], "tokenizer.ggml.token_type": [1] * (COUNT - 9)},
        {"tokenizer.ggml.token_type": [1] * 5},
        {"tokenizer.ggml.model": "nonsense"},
    ],
    ids=lambda keys: ", ".join(keys),
)
async def test_facts_that_contradict_the_tensors_or_each_other_are_refused(
    make_engine: Make, tiny_model: Path, tmp_path: Path, keys: dict[str, Any]
):
    error = await fails_to_start(make_engine(lie(tiny_model, tmp_path / "lie.gguf", keys)))
    assert isinstance(error, LoadError)
    assert error.code == "model_unusable"


@pytest.mark.parametrize(
    "keys",
    [{"tokenizer.ggml.tokens": ["a"] * COUNT}, {"tokenizer.ggml.model": "llama"}],
    ids=["one token many times", "another kind of tokenizer"],
)
async def test_a_file_on_which_llama_cpp_aborts_is_an_error_that_names_it(
    make_engine: Make, tiny_model: Path, tmp_path: Path, keys: dict[str, Any]
):
    error = await fails_to_start(make_engine(lie(tiny_model, tmp_path / "lie.gguf", keys)))
    assert error.code == "engine_crashed"
    assert "SIGABRT" in error.message
    assert "while it loaded lie.gguf" in error.message
    assert str(tmp_path) not in error.line()


@pytest.mark.parametrize("tensor", ["output.weight", "token_embd.weight"])
async def test_weights_that_are_no_numbers_make_the_model_unusable(
    make_engine: Make, tiny_model: Path, tmp_path: Path, tensor: str
):
    broken = np.full((COUNT, 64), np.nan, np.float32)
    error = await fails_to_start(make_engine(lie(tiny_model, tmp_path / "lie.gguf", tensors={tensor: broken})))
    assert error.code == "model_unusable"
    assert "weights are broken" in error.message


@pytest.mark.parametrize(
    "keys",
    [
        {"llama.context_length": 0},
        {"llama.context_length": (1 << 32) - 1},
        {"tokenizer.ggml.eos_token_id": 1 << 31},
        {"tokenizer.ggml.bos_token_id": (1 << 31) - 1, "tokenizer.ggml.add_bos_token": True},
    ],
    ids=str,
)
async def test_numbers_that_matter_to_no_tensor_are_bounded_and_the_model_answers(
    make_engine: Make, tiny_model: Path, tmp_path: Path, keys: dict[str, Any]
):
    async with make_engine(lie(tiny_model, tmp_path / "lie.gguf", keys)) as engine:
        _, _, finished = await answer(engine, ask(max_tokens=6))
        assert finished.output_tokens > 0
        assert (await engine.info()).context_length <= 4096


async def test_a_template_that_reaches_out_fails_its_request_and_the_worker_goes_on(make_engine: Make, tmp_path: Path):
    # It waits for a certain question: a template that always reaches out is refused at load.
    reaching = "{% set said = messages[0]['content'] %}{{ said }}{{ ''.__class__.__mro__ if said == 'now' }}"
    model = write_tiny(tmp_path / "out.gguf", template=reaching)
    async with make_engine(model) as engine:
        worker = engine.worker_pid
        for _ in range(2):
            with pytest.raises(EngineError, match="unsafe") as error:
                await answer(engine, ask("now"))
            assert error.value.code == "bad_request"
        await answer(engine, ask())
        assert engine.worker_pid == worker


async def test_a_context_that_memory_can_not_hold_is_refused_by_the_worker_too(make_engine: Make, tmp_path: Path):
    machine = HostMachine(available_memory_bytes=lambda: 1 << 60)
    model = write_shape(tmp_path / "long.gguf", Shape(layers=16, context=1 << 30))
    error = await fails_to_start(make_engine(model, slots=1, context_length=1 << 28, machine=machine))
    assert error.code == "model_too_big"
    assert "not enough memory" in error.message
