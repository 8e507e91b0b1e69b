"""Model files as people have them: broken, foreign, oddly named, replaced; each meets one clear line, or works."""

from __future__ import annotations

import asyncio
import errno
import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.cli import run
from app.cli.model_tables import as_columns, cells
from app.home import Home
from chain.errors import UsageError
from node.engine.llama import LlamaEngine
from node.engine.load_check import LoadChecks
from node.engine.protocol import LoadError
from node.engine.tuning import TuningCache
from node.models.catalog import available, lookup
from node.models.digest import DigestCache, sha256_file
from node.models.fit import Device, assess, plan
from node.models.gguf import inspect
from node.models.library import ModelLibrary
from node.models.model_error import ModelError
from node.models.removal import remove
from node.provider.engine_factory import make_engine as make_rentable
from node.runtime.settings import NodeSettings
from tests.harvest.model_files import MakeEngine, refused
from tests.node.engine.helpers import answer, ask
from tests.node.engine.tiny import write_tiny
from tests.node.models.lies import lie
from tests.node.models.test_discovery import cached, ollama, put
from tests.node.models.test_fit import EIGHT_B
from tests.node.models.test_gguf import write as write_header
from tests.patience import PATIENCE_S
from tests.screens.fake_node import FakeNode, model_view
from tests.screens.support import make_app, seen, until_seen

SPOILT = (b"", b"null", b'{"": 1}', b'{"": {"identity": [], "build": "", "verdict": {"message": 1}}}', b"{" * 5000)


# -- names ---------------------------------------------------------------------------------------------------------


async def test_a_file_whose_name_is_not_utf_8_is_loaded_and_answers(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
):
    """Files from old archives and Windows disks have names in other encodings; the engine waited forever
    (of the kind of ollama/ollama#3120)."""
    model = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le-\xff.gguf"))
    shutil.copy(tiny, model)
    async with make_engine(model) as engine:
        _, _, finished = await answer(engine, ask(max_tokens=4))
        assert finished.output_tokens > 0
        assert len((await engine.info()).model_sha256) == 64


def test_a_file_that_can_not_be_read_to_its_end_is_a_line_and_no_crash(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A disk that fails in the middle of a file was "something unexpected", with a crash report."""

    def fails(path: Path, _stop: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    shutil.copy(tiny, tmp_path / "models" / "m.gguf")
    monkeypatch.setattr("node.models.library.DigestCache", functools.partial(DigestCache, read=fails))
    assert run(["models", "inspect", "m"]) == 1
    assert "m.gguf can't be read to its end: Input/output error" in capsys.readouterr().err


# -- files that change ---------------------------------------------------------------------------------------------


async def test_a_file_that_was_replaced_while_it_is_rented_out_is_not_served_under_the_old_digest(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
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


# -- files that are no model ---------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        inspect(path)
    assert error.value.code == "model_unusable"
    assert error.value.fix
    assert error.value.line().isprintable()
    return error.value.line()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty. Download it again"),
        (b"\n\n<!DOCTYPE html><html>log in", "is a web page"),
        (b"\xef\xbb\xbf<HTML><head>", "is a web page"),
        (b'{"error":"Entry not found"}', "JSON text"),
        (b"Entry not found", "text that begins 'Entry not found'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(60), "PyTorch"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"__metadata__":{}}', "safetensors"),
        (b"tjgg\x03\0\0\0" + bytes(60), "GGJT"),
        (bytes(4096), "never brought the bytes"),
        (b"\x89\xff\x00\x1b[31m", "is not a GGUF model file. Choose"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_file_that_is_something_else_is_named_for_what_it_is(tmp_path: Path, content: bytes, says: str):
    """A web page and a pointer of git were "invalid magic" (ggml-org/llama.cpp#3358, ollama/ollama#3010)."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("version", "says"),
    [(1, "version 1"), (4, "update Idlewatt"), (3 << 24, "big-endian"), (2 << 24, "big-endian"), (0, "version 0")],
)
def test_a_version_or_byte_order_that_is_not_read_is_named(tmp_path: Path, version: int, says: str):
    """A model for s390x was "GGUF version 50331648" (see ggml-org/llama.cpp#3298)."""
    assert says in refusal(write_header(tmp_path / "m.gguf", version=version))


def test_a_file_with_a_vocabulary_alone_is_named(tmp_path: Path):
    """llama.cpp's own test files were "broken"."""
    assert "holds a vocabulary and 0 tensors" in refusal(write_header(tmp_path / "m.gguf", tensors=(), counts=(0, 2)))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"general.type": "adapter"}, "LoRA adapter"),
        ({"general.type": "mmproj"}, "image projector"),
        ({"general.type": "imatrix"}, "importance matrix"),
        ({"general.type": "sonnet"}, "a model's sonnet"),
        ({"general.architecture": "clip"}, "image projector"),
        ({"adapter.type": "lora"}, "LoRA adapter"),
    ],
    ids=str,
)
async def test_what_belongs_to_a_model_and_is_none_is_refused_before_llama_cpp_sees_it(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path, keys: dict[str, Any], says: str
):
    """A projector or adapter that was named by its path was loaded, and then failed (ggml-org/llama.cpp#7799)."""
    error = await refused(make_engine(lie(tiny, tmp_path / "m.gguf", keys)))
    assert says in error.message
    assert error.fix == "Choose the model itself."
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("folder", "it is a folder"),
        ("pipe", "it is a pipe"),
        ("device", "it is a device"),
        ("circle", "leads in a circle"),
        ("gone", "a file that is gone"),
        ("missing", "There is no model file m.gguf. Check"),
    ],
)
def test_what_is_no_file_is_named_for_what_it_is_and_never_waited_for(tmp_path: Path, kind: str, says: str):
    """Reading a pipe named like a model waits forever; a dangling link was "no such file" though `ls` showed it."""
    path = tmp_path / "m.gguf"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "circle":
            path.symlink_to(path)
        case "gone":
            path.symlink_to(tmp_path / "nowhere")
    assert says in refusal(path)
    if kind != "missing":
        with pytest.raises(UsageError, match=says):
            lookup(str(path), tmp_path / "models")


@pytest.mark.parametrize("kept", [".checks.json", ".digests.json", "threads.json"])
def test_what_is_remembered_is_only_a_cache(tmp_path: Path, tiny: Path, kept: str):
    """A pipe in a cache's place was waited for; one edited by hand, or of another version, must count for nothing."""
    path = tmp_path / kept
    for spoil in (os.mkfifo, Path.mkdir, *(functools.partial(Path.write_bytes, data=data) for data in SPOILT)):
        spoil(path)

        assert DigestCache(path).sha256(tiny) == sha256_file(tiny)
        assert LoadChecks(path).problem(tiny, inspect(tiny)) is None
        assert TuningCache(path).get("") is None

        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


async def test_a_part_of_a_split_model_that_is_missing_is_named(make_engine: MakeEngine, tiny: Path, tmp_path: Path):
    """The first of two parts was loaded, and the other one's absence was a failure without a name."""
    shutil.copy(tiny, tmp_path / "m-00001-of-00002.gguf")
    error = await refused(make_engine(tmp_path / "m-00001-of-00002.gguf"))
    assert "its part m-00002-of-00002.gguf is missing" in error.message


# -- kinds of models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "embeds"), [(-1, False), ((1 << 32) - 1, False), (0, False), (1, True), (3, True), (99, False)]
)
async def test_a_pooling_type_that_is_open_makes_no_embedding_model(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path, pooling: int, embeds: bool
):
    """Some converters write pooling_type = -1, "unspecified", into chat models; they were taken for embedding ones."""
    model = lie(tiny, tmp_path / "m.gguf", {"llama.pooling_type": pooling & 0xFFFFFFFF})
    assert inspect(model).embeds_only is embeds
    async with make_engine(model) as engine:
        assert (await engine.info()).chats is not embeds


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home folder in which no other program keeps models."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "user"


def test_every_name_of_one_file_works(user: Path, tmp_path: Path):
    """Of two names of one blob the second was unknown: `ollama cp`, two tags, hard links, links of the hub's cache."""
    home = tmp_path / "models"
    path = put(home / "first.gguf", b"GGUF 1")
    os.link(path, home / "second.gguf")
    (home / "third-Q4_0.GGUF").symlink_to(path)
    for tag in ("latest", "3b", "3b-q4"):
        ollama(user / ".ollama/models", f"registry.ollama.ai/library/llama3.2/{tag}", b"GGUF 2")
    cached(user / ".cache/huggingface/hub", "o/r", "same-Q4_0.gguf", b"GGUF 2")
    for name in ("first", "second", "second.gguf", "third-q4_0"):
        assert lookup(name, home).path.samefile(path)
        assert lookup(name, home).path.name.lower().startswith(name.removesuffix(".gguf"))
    for name in ("llama3.2", "llama3.2:latest", "llama3.2:3b", "llama3.2:3b-q4", "same-Q4_0", "o/r"):
        assert lookup(name, home).path.read_bytes() == b"GGUF 2"
    views = {view.name: view for view in ModelLibrary(home).list() if view.source != "built-in"}
    assert len(views) == 2
    assert set(views["first"].also) == {"second", "third-Q4_0"}


async def test_removing_one_name_of_a_file_leaves_the_others(user: Path, tmp_path: Path):
    """`rm` of the second name deleted the first."""
    path = put(tmp_path / "models" / "first.gguf", b"GGUF 1")
    os.link(path, tmp_path / "models" / "second.gguf")
    assert await remove(ModelLibrary(tmp_path / "models"), "second") == 0
    assert path.is_file()
    assert not (tmp_path / "models" / "second.gguf").exists()


def test_names_that_are_not_utf_8_are_listed_found_and_sent(
    user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """One such file in the folder made every list fail: such a name can be neither JSON nor printed."""
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    for name in (b"mod\xe8le.gguf", b"mod\xe9le.gguf", b"\xff\xfe.GGUF"):
        (models / os.fsdecode(name)).write_bytes(b"GGUF" + name)
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path / "home"))
    assert run(["models", "list", "--json"]) == 0
    listed = [model["name"] for model in json.loads(capsys.readouterr().out)["models"]]
    assert len(set(listed)) == len(listed) == 4
    found = {lookup(name, models).path.name for name in listed if name != "demo"}
    assert found == {os.fsdecode(name) for name in (b"mod\xe8le.gguf", b"mod\xe9le.gguf", b"\xff\xfe.GGUF")}
    assert lookup(os.fsdecode(b"mod\xe8le"), models).path.name == os.fsdecode(b"mod\xe8le.gguf")
    assert msgspec.json.encode([*available(models)])
    engine = make_rentable(Home.resolve(str(tmp_path / "home")), NodeSettings(), os.fsdecode(b"mod\xe8le"), print)
    assert isinstance(engine, LlamaEngine)
    assert engine._name == "mod\N{REPLACEMENT CHARACTER}le"


def test_huge_and_wide_names_leave_a_table_within_the_terminal_and_a_pipe_gets_all_of_them():
    """One long name pushed every other column out of an 80-column terminal."""
    rows = [
        ("MODEL", "QUANT", "SIZE", "FIT"),
        ("n" * 200 + "-Q4_K_M", "Q4_K_M", "4.1 GiB", "fits with 4k context and 4 slots (up to 104k)"),
        ("模型" * 60, "Q8_0", "1.0 GiB", "it can't be used: " + "z" * 100 + " and more words than one line has"),
        ("e\u0301" * 50, "", "", ""),
    ]
    for width in (60, 80, 120):
        lines = as_columns(rows, width).splitlines()
        assert max(map(cells, lines)) <= width
        assert "Q4_K_M  Q4_K_M" in lines[1], "names differ at their end too"
        assert "".join(lines).replace(" ", "").count("z") == 100, "what is wrong with a model is told in full"
    whole = as_columns(rows, 1 << 30).splitlines()
    assert len(whole) == 4
    assert whole[1].startswith("n" * 200)
    assert as_columns([("A", "B"), ("a", "b")]) == "A  B\na  b"


# -- what fits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gib", [3, 5, 5.9, 6.2, 7, 12, 64])
@pytest.mark.parametrize("context", [None, 512, 8192, 65_536])
def test_the_sentence_and_the_figures_of_fit_speak_of_one_plan_and_leave_headroom(gib: float, context: int | None):
    """ "fits with 104k context" stood beside the memory that 4k take; what fitted to the last byte was then killed."""
    free = int(gib * (1 << 30))
    view = assess(EIGHT_B, model="m", device=Device("memory", free), slots=4, context_length=context)
    tokens = view.context_length
    shown = f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)
    assert view.sentence.startswith(
        (f"fits with {shown} context", f"doesn't fit with {shown} context", "doesn't fit: ")
    )
    assert view.needed_bytes == view.weights_bytes + view.cache_bytes + view.work_bytes + view.process_bytes
    assert view.fits == (view.needed_bytes + view.headroom_bytes <= free)
    assert view.headroom_bytes > 0
    try:
        loaded = plan(EIGHT_B, available_bytes=free, slots=4, context_length=context)
    except ModelError as error:
        assert not view.fits
        assert "are free" in error.message  # noqa: PT017 - both outcomes are right
    else:
        assert view.fits
        assert (loaded.total_bytes, loaded.context_length) == (view.needed_bytes, view.context_length)


def test_a_model_that_would_take_the_headroom_is_refused_in_words_that_add_up():
    """ "needs 5.9 GiB and 6.0 GiB are free" is a refusal that nobody understands."""
    needed = assess(EIGHT_B, model="m", device=Device("memory", 64 << 30), slots=1, context_length=256).needed_bytes
    view = assess(EIGHT_B, model="m", device=Device("memory", needed + 1), slots=1, context_length=256)
    assert view.sentence == "doesn't fit: needs 5.3 GiB and 5.3 GiB are free, of which 0.3 GiB stay so"


async def test_the_models_screen_keeps_every_column_at_80_cells_whatever_the_names():
    """A name of 200 letters, or of wide ones, left no place for whether the model fits."""
    node = FakeNode()
    names = ("n" * 200 + "-Q4_K_M", "模型" * 60, "e\u0301" * 90, "\U0001f469\u200d\U0001f4bb" * 30)
    node.model_views = tuple(
        msgspec.structs.replace(model_view(), name=name, fit="fits with 4k context and 4 slots (up to 103k)")
        for name in names
    )
    async with make_app(node, first_mode="models").run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "fits with", "4k, 4 slots")
        assert sum("4k, 4 slots" in line for line in seen(pilot.app).splitlines()) == len(names)
