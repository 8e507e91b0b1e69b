from __future__ import annotations

from pathlib import Path

import pytest

from chain.errors import UsageError
from node.models.catalog import available, resolve


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("Alpha-7B.gguf", "beta.GGUF", "notes.txt", "\x1b[31mred.gguf"):
        (folder / name).touch()
    return folder


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.gguf"
    path.touch()
    return path


def test_models_are_the_demo_and_the_files_of_the_home(models: Path, demo: Path):
    assert list(available(models, demo=demo)) == ["demo", "\x1b[31mred", "Alpha-7B", "beta"]


@pytest.mark.parametrize("name", ["Alpha-7B", "alpha-7b", "Alpha-7B.gguf"])
def test_a_name_finds_its_file(models: Path, name: str):
    assert resolve(name, models) == models / "Alpha-7B.gguf"


def test_demo_is_the_model_that_is_shipped(models: Path, demo: Path):
    assert resolve("demo", models, demo=demo) == demo


def test_a_path_finds_its_file(models: Path, monkeypatch: pytest.MonkeyPatch):
    assert resolve(str(models / "beta.GGUF"), Path("/nowhere")) == models / "beta.GGUF"
    monkeypatch.chdir(models)
    assert resolve("./Alpha-7B.gguf", Path("/nowhere")) == models / "Alpha-7B.gguf"


@pytest.mark.parametrize("name", ["gamma", "", "a/b", "x\0y", "n" * 5000, "\x1b[2J"])
def test_an_unknown_model_is_refused_with_what_there_is(models: Path, demo: Path, name: str):
    with pytest.raises(UsageError) as error:
        resolve(name, models, demo=demo)
    assert error.value.code == "unknown_model"
    assert "demo, ?[31mred, Alpha-7B, beta" in error.value.message
    assert error.value.message.isprintable()


def test_a_long_list_is_cut_and_an_empty_one_says_none(tmp_path: Path):
    missing = tmp_path / "no-demo.gguf"
    with pytest.raises(UsageError, match="at hand: none"):
        resolve("x", tmp_path, demo=missing)
    for number in range(20):
        (tmp_path / f"m{number}.gguf").touch()
    with pytest.raises(UsageError, match="and 8 more"):
        resolve("x", tmp_path, demo=missing)
