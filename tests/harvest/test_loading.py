"""A model that can't be loaded is refused with llama.cpp's own reason, and nothing hangs on it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.cli import run
from node.engine.load_check import LoadChecks
from node.engine.loading import HostMachine
from node.engine.protocol import EngineError, LoadError
from node.engine.reason import last_words, reason_of
from node.hardware.backend import knows_architecture
from node.models.gguf import inspect
from tests.harvest.model_files import MakeEngine, refused
from tests.node.conftest import Pair
from tests.node.engine.helpers import answer, ask
from tests.node.models.kinds import KINDS
from tests.node.models.lies import lie
from tests.patience import PATIENCE_S

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
    make_engine: MakeEngine, tiny: Path, tmp_path: Path, keys: dict[str, Any], reason: str
):
    """People saw "failed to load model" and had to find a log (ollama/ollama#12984)."""
    model = lie(tiny, tmp_path / "lie.gguf", keys)
    error = await refused(make_engine(model))
    assert isinstance(error, LoadError)
    assert error.code == "model_unusable"
    assert reason in error.message
    assert str(tmp_path / "lie.gguf") not in error.message


async def test_the_last_words_of_a_worker_that_died_while_loading_are_told(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
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


# -- what llama.cpp would not load, known before it is loaded -------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"general.architecture": "llama9", "llama9.block_count": 2}, "doesn't know the architecture 'llama9'"),
        ({"tokenizer.ggml.pre": "tomorrow"}, "unknown pre-tokenizer type: 'tomorrow'"),
        ({"llama.block_count": 1}, "wrong number of tensors; expected 21, got 12"),
        ({"llama.feed_forward_length": 64}, "wrong shape"),
        ({"tokenizer.ggml.model": "llama"}, "llama.cpp crashes on it (SIGABRT)"),
        ({"llama.pooling_type": 4}, "It is a reranker"),
    ],
    ids=["architecture", "pre-tokenizer", "tensor count", "shape", "crash", "kind"],
)
def test_fit_does_not_say_that_a_file_fits_which_llama_cpp_would_not_load(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    keys: dict[str, Any], reason: str,
):  # fmt: skip
    """ "fits with 4k context" was said of models that are newer than the installed llama.cpp."""
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    lie(tiny, tmp_path / "models" / "lie.gguf", keys)
    assert run(["models", "fit", "lie"]) == 1
    shown = capsys.readouterr()
    assert reason in shown.err
    assert "fits" not in shown.out + shown.err
    # What was found out is remembered: the list says it too.
    assert run(["models", "list", "--json"]) == 0
    views = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert reason in views["lie"]["problem"]
    assert not views["lie"]["fits"]
    assert run(["models", "inspect", "lie"]) == 0
    assert reason in capsys.readouterr().out


async def test_a_template_without_text_is_none_for_fit_as_it_is_at_load(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
):
    """`fit` refused base models whose template is an empty text, and `serve` loaded them."""
    model = lie(tiny, tmp_path / "base.gguf", {"tokenizer.chat_template": ""})
    assert LoadChecks().problem(model, inspect(model)) is None
    async with make_engine(model) as engine:
        assert await answer(engine, ask("hi"))


def test_llama_cpp_is_asked_once_about_a_file_and_again_when_it_changes(tiny: Path, tmp_path: Path):
    """Each look at a large vocabulary takes seconds."""
    model, kept = tmp_path / "m.gguf", tmp_path / "checks.json"
    shutil.copy(tiny, model)
    info = inspect(model)
    assert LoadChecks(kept).problem(model, info) is None
    hurried = LoadChecks(kept, timeout_s=0.0)
    lie(tiny, tmp_path / "lie.gguf", {"tokenizer.ggml.pre": "tomorrow"}).replace(model)
    assert hurried.problem(model, info) is None, "what takes too long is not refused"
    told = LoadChecks(kept).problem(model, info)
    assert told is not None
    assert LoadChecks(kept, timeout_s=0.0).problem(model, info) is not None
    assert LoadChecks(tmp_path / "none.json").problem(model, info, ask=False) is None


def test_a_build_of_llama_cpp_that_refuses_a_sound_file_refuses_none_for_us(tiny: Path, tmp_path: Path):
    """Some builds abort on every file that is loaded without its weights: no model would have been usable."""
    broken = lie(tiny, tmp_path / "lie.gguf", {"tokenizer.ggml.pre": "tomorrow"})
    assert LoadChecks(sound=broken).problem(broken, inspect(broken)) is None
    assert LoadChecks(sound=tiny).problem(broken, inspect(broken)) is not None


def test_every_architecture_that_the_tests_load_is_known_without_loading_llama_cpp(tmp_path: Path):
    """A list of architectures of our own is wrong the day after llama.cpp's next release."""
    assert all(knows_architecture(shape.arch) for shape in KINDS.values())
    assert knows_architecture("bert")
    assert not knows_architecture("llama9")
    assert knows_architecture("anything", tmp_path), "without a library to look into nothing is refused"


# -- what nobody foresaw -------------------------------------------------------------------------------------------


def unlucky(*_: object) -> Any:
    raise ZeroDivisionError("nobody thought of this")


@pytest.mark.parametrize("place", ["looking at the file", "starting the worker"])
async def test_an_unforeseen_exception_while_loading_ends_the_start_with_a_coded_line(
    make_engine: MakeEngine, tiny: Path, monkeypatch: pytest.MonkeyPatch, place: str
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


async def test_a_listener_that_fails_keeps_no_engine_from_starting(make_engine: MakeEngine, tiny: Path):
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


async def test_an_unforeseen_exception_while_loading_ends_serve_with_a_line_and_the_node_goes_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    """`serve` hung at the start; after a pause the model stayed away, and nothing said why."""
    provider = pair.seller._provider
    await provider.pause("Somebody is here.")
    with monkeypatch.context() as broken:
        broken.setattr("node.provider.service.make_engine", unlucky)
        await provider.resume()
        assert provider.engine_state == "failed"
        assert "unforeseen went wrong while the model was loaded (ZeroDivisionError)" in provider.engine_error
    await pair.seller.go_offline()
    with monkeypatch.context() as broken:
        broken.setattr("node.engine.loading.swap_limit", unlucky)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(EngineError) as error:
                await pair.seller.go_online()
        assert error.value.code == "internal"
    await pair.seller.go_online()
    assert provider.engine_state == "ready"
