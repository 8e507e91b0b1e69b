"""`make lock` keeps extras and says what moved; `make help` names every target."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging import index
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "lock.py"
PROJECT = """\
[project]
name = "lamp"
version = "1"
requires-python = ">=3.11"
dependencies = ["bulb"]

[dependency-groups]
dev = ["fuse[tester]>=1"]
build = ["volt"]
"""


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A project whose dependencies a folder of wheels offers: bulb wants fuse, and the checks want fuse[tester]."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    folder = tmp_path / "checkout"
    for place in ("chain/eels", "suites"):
        (folder / "tests" / place).mkdir(parents=True)
        (folder / "tests" / place / "requirements.in").write_text("fuse==1.0\n")
    (folder / "pyproject.toml").write_text(PROJECT)
    offer(folder, "bulb", "1.0", "Requires-Dist: fuse[shelf]>=1", "Provides-Extra: dim")
    for version in ("1.0", "1.1"):
        offer_fuse(folder, version)
    offer(folder, "volt", "1.0")
    offer(folder, "shelf", "1.0")
    return folder


def offer(folder: Path, name: str, version: str, *asks: str) -> None:
    index.wheel(folder.parent / "wheels", name, version, list(asks))


def offer_fuse(folder: Path, version: str) -> None:
    extras = ["Provides-Extra: tester", "Provides-Extra: shelf"]
    asks = ["Requires-Dist: volt; extra == 'tester'", "Requires-Dist: shelf; extra == 'shelf'"]
    offer(folder, "fuse", version, *extras, *asks)


def make_lock(folder: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    uv = {"UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": str(folder.parent / "wheels"), "UV_NO_CACHE": "1"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=folder, env=clean | uv, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_lock_says_what_was_added_and_keeps_the_extras_of_each_list(checkout):
    said = make_lock(checkout)

    assert said.splitlines() == [
        "requirements.lock",
        "  + bulb   1.0",
        "  + fuse   [shelf] 1.1",
        "  + shelf  1.0",
        "requirements-dev.lock",
        "  + bulb   1.0",
        "  + fuse   [shelf, tester] 1.1",
        "  + shelf  1.0",
        "  + volt   1.0",
        "requirements-build.lock",
        "  + volt  1.0",
        "tests/chain/eels/requirements.lock",
        "  + fuse  1.0",
        "tests/suites/requirements.lock",
        "  + fuse  1.0",
    ]


def test_a_newer_release_moves_the_pin_unless_it_was_asked_to_keep_it(checkout):
    make_lock(checkout)
    offer_fuse(checkout, "1.2")

    assert "->" not in make_lock(checkout, "--keep")
    assert "    fuse   [shelf] 1.1 -> [shelf] 1.2" in make_lock(checkout).splitlines()
    assert make_lock(checkout).count("nothing moved") == 5


def test_what_nobody_asks_for_any_more_is_said_to_be_gone(checkout):
    make_lock(checkout)
    (checkout / "pyproject.toml").write_text(PROJECT.replace("fuse[tester]", "fuse"))

    assert make_lock(checkout).splitlines()[2:5] == [
        "requirements-dev.lock",
        "    fuse   [shelf, tester] 1.1 -> [shelf] 1.1",
        "  - volt   1.0",
    ]


def test_a_package_pinned_twice_by_markers_is_one_line(lock):
    old = "numpy==2.4.6 ; python_full_version < '3.12' \\\nnumpy==2.5.5 ; python_full_version >= '3.12' \\\n"
    new = old.replace("2.5.5", "2.5.6")

    assert list(lock.moves(old, new)) == ["  numpy  2.4.6, 2.5.5 -> 2.4.6, 2.5.6"]


def test_every_lock_of_this_repository_is_one_that_make_lock_writes(lock):
    found = {path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.lock"), *ROOT.glob("tests/**/*.lock"))}

    assert found == set(lock.LOCKS)


def test_make_help_says_what_every_target_does():
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None

    lines = dict(re.findall(r"^make (\S+) +(\S.*)$", said, re.MULTILINE))
    assert set(lines) == set(targets[1].split())
