"""What is installed is the program with the files it reads, and nothing that only makes or checks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "chain", "node", "screens", "wallet")
LOOKALIKE = "node_modules"
READ_AT_RUN_TIME = {".tcss", ".gguf", ".sha256", ".sql"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The source tree without what building and testing leave in it."""
    tree = tmp_path_factory.mktemp("tree")
    kept_out = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist", "node_modules", "iw")
    shutil.copytree(ROOT, tree, ignore=kept_out, dirs_exist_ok=True)
    (tree / LOOKALIKE).mkdir()
    (tree / LOOKALIKE / "index.py").touch()
    return tree


@pytest.fixture(scope="module")
def wheel(tree) -> set[str]:
    """The paths in the wheel that the tree builds, without any network."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
            "--disable-pip-version-check", "--wheel-dir", tree / "dist", tree,
        ],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_five_packages_and_what_pip_needs(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == set(PACKAGES)
    assert {name.rpartition(".dist-info/")[2] for name in wheel if ".dist-info/" in name} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt",
    }  # fmt: skip


def test_every_module_and_every_file_read_at_run_time_is_in_the_wheel(wheel, tree):
    for package in PACKAGES:
        for path in (tree / package).rglob("*"):
            name = path.relative_to(tree).as_posix()
            if path.suffix in READ_AT_RUN_TIME | {".py"} or path.name == "py.typed" or "/artifacts/" in name:
                assert name in wheel


@pytest.mark.parametrize(
    "file",
    [
        "node/models/demo/demo.gguf",
        "node/models/demo/demo.gguf.sha256",
        "chain/contracts/artifacts/Rollup.json",
        "app/py.typed",
        "chain/py.typed",
        "node/py.typed",
        "screens/py.typed",
        "wallet/py.typed",
    ],
)
def test_the_wheel_holds(file, wheel):
    assert file in wheel


def test_the_wheel_carries_no_training_and_no_tests(wheel):
    parts = {part.removesuffix(".py") for name in wheel for part in name.split("/")}

    assert not parts & {"train", "corpus", "evaluate", "demo_model", "conftest", "test", "tests"}
    assert not [part for part in parts if part.startswith("test_")]


def test_a_folder_whose_name_begins_like_a_package_s_stays_out(wheel, tree):
    assert (tree / LOOKALIKE).is_dir()
    assert not [name for name in wheel if name.startswith(LOOKALIKE)]
