"""Model files as people have them: broken, foreign, oddly named, replaced; each meets one clear line, or works."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli import run
from node.engine.llama import LlamaEngine
from node.engine.loading import HostMachine
from node.engine.protocol import EngineError, LoadError
from node.engine.reason import last_words, reason_of
from tests.node.engine.helpers import answer, ask, engine_of
from tests.node.engine.tiny import write_tiny
from tests.node.models.lies import lie
from tests.patience import PATIENCE_S

Make = Callable[..., LlamaEngine]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
def make_engine(tmp_path: Path) -> Make:
    def make(model: Path, **settings: object) -> LlamaEngine:
        return engine_of(model, tmp_path / "logs" / "engine.log", **settings)

    return make


async def refused(engine: LlamaEngine) -> EngineError:
    with pytest.raises(EngineError) as error:
        async with asyncio.timeout(PATIENCE_S):
            await engine.start()
    assert engine.state.name == "failed"
    assert error.value.line().isprintable()
    return error.value


# -- llama.cpp's own reason ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"general.architecture": "llama9", "llama9.block_count": 2}, "unknown model architecture: 'llama9'"),
        ({"tokenizer.ggml.pre": "tomorrow"}, "unknown pre-tokenizer type: 'tomorrow'"),
        ({"tokenizer.ggml.model": "nonsense"}, "unknown tokenizer: 'nonsense'"),
        ({"llama.block_count": 1}, "wrong number of tensors; expected 21, got 12"),
        ({"llama.block_count": 3}, "tensor 'blk.2.attn_norm.weight' not found"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "key not found in model"),
    ],
    ids=["architecture", "pre-tokenizer", "tokenizer", "too many tensors", "too few tensors", "a number is missing"],
)
async def test_why_llama_cpp_refuses_a_file_reaches_the_person(
    make_engine: Make, tiny: Path, tmp_path: Path, keys: dict[str, Any], reason: str
):
    """People saw "failed to load model" and had to find a log (ollama/ollama#8571, lmstudio-ai/lms#56)."""
    model = lie(tiny, tmp_path / "lie.gguf", keys)
    error = await refused(make_engine(model))
    assert isinstance(error, LoadError)
    assert error.code == "model_unusable"
    assert reason in error.message
    assert str(tmp_path / "lie.gguf") not in error.message


async def test_the_last_words_of_a_worker_that_died_while_loading_are_told(
    make_engine: Make, tiny: Path, tmp_path: Path
):
    """An assertion of llama.cpp ended the program, and "exit code -6" was all that was shown."""
    error = await refused(make_engine(lie(tiny, tmp_path / "lie.gguf", {"tokenizer.ggml.model": "llama"})))
    assert error.code == "engine_crashed"
    assert "It wrote: " in error.message
    assert str(tmp_path) not in error.line()


def test_of_several_lines_the_one_that_says_why_is_chosen_without_folders_and_functions():
    """The last line of level error says only that it failed."""
    lines = (
        "gguf_init_from_reader: invalid magic characters: 'root', expected 'GGUF'\n",
        "llama_model_load: error loading model: llama_model_loader: failed to load model from /home/me/x.gguf\n",
        "llama_model_load_from_file_impl: failed to load model\n",
    )
    assert reason_of(lines) == "invalid magic characters: 'root', expected 'GGUF'"
    assert last_words("load\n/b/src/llama-vocab.cpp:9: GGML_ASSERT(n > 0) failed\n") == (
        "llama-vocab.cpp:9: GGML_ASSERT(n > 0) failed"
    )
    assert last_words("terminate called\n  what():  _Map_base::at\n") == "_Map_base::at"
    assert last_words("llama_model_loader: loaded meta data\n") == ""
    assert reason_of(["x: \x1b[31m" + "y" * 9999]).isprintable()


# -- what nobody foresaw -------------------------------------------------------------------------------------------


def unlucky(*_: object) -> Any:
    raise ZeroDivisionError("nobody thought of this")


@pytest.mark.parametrize("place", ["looking at the file", "starting the worker"])
async def test_an_unforeseen_exception_while_loading_ends_the_start_with_a_coded_line(
    make_engine: Make, tiny: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    """The task that loads died, and whoever waited for it waited forever."""
    engine = make_engine(tiny)
    if place == "looking at the file":
        engine = make_engine(tiny, machine=HostMachine(available_memory_bytes=unlucky))
    else:
        monkeypatch.setattr("node.engine.process.worker_environment", unlucky)
    error = await refused(engine)
    assert error.code == "internal"
    await engine.close()
    assert engine.worker_pid is None


async def test_a_listener_that_fails_keeps_no_engine_from_starting(make_engine: Make, tiny: Path):
    """An exception while the new state was told ended the task that loads."""
    async with make_engine(tiny, on_state=unlucky) as engine:
        assert engine.state.name == "ready"


def test_an_unforeseen_exception_while_loading_ends_bench_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """`bench` hung until it was interrupted."""
    monkeypatch.setattr("node.engine.loading.default_threads", unlucky)
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path))
    assert run(["models", "bench", "demo", "--streams", "1", "--seconds", "0.1"]) == 1
    shown = capsys.readouterr().err
    assert "Something unforeseen went wrong with the engine (ZeroDivisionError)." in shown


# -- names ---------------------------------------------------------------------------------------------------------


async def test_a_file_whose_name_is_not_utf_8_is_loaded_and_answers(make_engine: Make, tiny: Path, tmp_path: Path):
    """Files from old archives and Windows disks have names in other encodings; the engine waited forever."""
    model = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le-\xff.gguf"))
    shutil.copy(tiny, model)
    async with make_engine(model) as engine:
        _, _, finished = await answer(engine, ask(max_tokens=4))
        assert finished.output_tokens > 0
        assert len((await engine.info()).model_sha256) == 64


# -- files that change ---------------------------------------------------------------------------------------------


async def test_a_file_that_was_replaced_while_it_is_rented_out_is_not_served_under_the_old_digest(
    make_engine: Make, tiny: Path, tmp_path: Path
):
    """A newer download took the file's place; after a crash its answers were signed as the old model's."""
    model, other = tmp_path / "m.gguf", write_tiny(tmp_path / "other.gguf", seed=8)
    shutil.copy(tiny, model)
    failed = asyncio.Event()
    engine = make_engine(model, backoff_s=0.01, on_state=lambda state: state.name == "failed" and failed.set())
    async with engine:
        await engine.info()
        other.replace(model)
        with pytest.raises(LoadError, match="was replaced"):
            await engine.info()
        assert engine.worker_pid is not None
        os.kill(engine.worker_pid, 9)
        async with asyncio.timeout(PATIENCE_S):
            await failed.wait()
        assert "was replaced" in engine.state.why
