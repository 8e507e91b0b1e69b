"""``idlewatt models`` as people run it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from app.cli import run
from tests.node.engine.tiny import write_tiny
from tests.node.models.fake_hub import Hub, running
from tests.patience import PATIENCE_S

REPO = "some/Thing-GGUF"
FILE = "thing-Q4_K_M.gguf"
MOVED = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "HF_TOKEN")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny-Q4_K_M.gguf")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> Path:
    for name in MOVED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    shutil.copy(tiny, home / "models")
    monkeypatch.setenv("IDLEWATT_HOME", str(home))
    return home


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run(["models", *arguments]) == status, capsys.readouterr().err
    read = capsys.readouterr()
    return read.out if status == 0 else read.err


def test_list_fit_and_inspect_say_the_same_to_people_and_to_programs(home: Path, capsys: pytest.CaptureFixture[str]):
    assert "tiny-Q4_K_M" in said(capsys, "list")
    listed = {model["name"]: model for model in json.loads(said(capsys, "list", "--json"))["models"]}
    assert listed["tiny-Q4_K_M"]["fit"] == "fits with 512 context and 4 slots"
    assert "fits with 256 context and 2 slots" in said(capsys, "fit", "tiny-Q4_K_M", "--context", "256", "--slots", "2")
    fit = json.loads(said(capsys, "fit", "tiny-Q4_K_M", "--json"))
    assert fit["fits"] is True
    assert fit["needed_bytes"] == (fit["weights_bytes"] + fit["cache_bytes"] + fit["work_bytes"] + fit["process_bytes"])
    shown = said(capsys, "inspect", "tiny-Q4_K_M")
    detail = json.loads(said(capsys, "inspect", "tiny-Q4_K_M", "--json"))
    assert detail["sha256"] in shown
    assert detail["view"]["architecture"] == "llama"


def test_a_folder_of_ones_own_is_looked_into_by_option_and_by_setting(
    home: Path, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my-own.gguf").write_bytes(tiny.read_bytes() + b"\0")
    assert "my-own" not in said(capsys, "list")
    assert "my-own" in said(capsys, "list", "--folder", str(tmp_path / "mine"))
    (home / "config.toml").write_text(f'model_folders = ["{tmp_path / "mine"}"]\n')
    assert "my-own" in said(capsys, "list")


def test_deleting_asks_first_and_says_what_is_free_again(home: Path, capsys: pytest.CaptureFixture[str]):
    assert "Pass --yes" in said(capsys, "rm", "tiny-Q4_K_M", status=2)
    assert "are free again" in said(capsys, "rm", "tiny-Q4_K_M", "--yes")
    assert not list((home / "models").glob("*.gguf"))
    assert "not in the home's models folder" in said(capsys, "rm", "demo", "--yes", status=1)
    assert "There is no model" in said(capsys, "rm", "tiny-Q4_K_M", "--yes", status=2)


def test_bench_keeps_what_it_measures_and_compares_with_the_last_time(home: Path, capsys: pytest.CaptureFixture[str]):
    short = ("--seconds", "0.2", "--prompt-tokens", "48")
    first = json.loads(said(capsys, "bench", "tiny-Q4_K_M", "--streams", "1,2", *short, "--json"))
    assert [row["streams"] for row in first["measured"]["rows"]] == [1, 2]
    assert first["history"] == []
    assert "than last time" in said(capsys, "bench", "tiny-Q4_K_M", "--streams", "1", *short)
    assert "--streams takes" in said(capsys, "bench", "tiny-Q4_K_M", "--streams", "9", status=2)


async def models(*arguments: str) -> tuple[int, str, str]:
    process = await started(*arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "models", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_a_pull_interrupted_by_ctrl_c_ends_with_130_and_the_next_one_goes_on(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running(Hub(files={REPO: {FILE: tiny.read_bytes()}}, stalls_after=1)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        pulling = await started("pull", REPO)
        async with asyncio.timeout(PATIENCE_S):
            await hub.served.wait()
            part = home / "models" / REPO
            while not any(path.stat().st_size for path in part.glob("*.part")):
                await asyncio.sleep(0.05)
        pulling.send_signal(signal.SIGINT)
        _, err = await pulling.communicate()
        assert pulling.returncode == 130
        assert err.decode().splitlines()[-1] == "Interrupted."
        hub.stalls_after = None
        status, out, err_text = await models("pull", REPO, "--json")
        assert status == 0, err_text
        assert json.loads(out)["model"] == f"{REPO}:Q4_K_M"
        assert hub.requests[-1][1] != ""
        assert (home / "models" / REPO / FILE).read_bytes() == tiny.read_bytes()


async def test_search_and_a_failing_pull_are_one_clear_line(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    async with running(Hub(files={REPO: {FILE: tiny.read_bytes()}})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        status, out, _ = await models("search", "Thing")
        assert status == 0
        assert REPO in out
        assert "Q4_K_M" in out
        status, _, err = await models("pull", "some/nothing")
        assert status == 1
        assert err.splitlines()[-1].startswith("idlewatt: The hub has no some/nothing")
        assert "Traceback" not in err


@pytest.mark.parametrize("command", ["list", "--help"])
def test_looking_at_ones_own_models_imports_no_hub_and_no_llama_cpp(home: Path, command: str):
    script = (
        "import sys; from app.cli import run; run(['models', sys.argv[1]]);"
        "print([name for name in ('huggingface_hub', 'llama_cpp', 'textual', 'web3', 'numpy') if name in sys.modules])"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, check=True, env=dict(os.environ),
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"
