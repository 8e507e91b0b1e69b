"""Each lock installs for as long as its releases exist, whatever newer releases the index offers as well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from tests.chain import eels_process
from tests.packaging import index
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
LOCKS = {
    "install": ROOT / "requirements.lock",
    "dev": ROOT / "requirements-dev.lock",
    "eels": eels_process.LOCK,
}
INSTALLER = (
    "Makefile", "requirements-build.lock", ".ci/install.py", ".ci/build_options.py", ".ci/build_reason.py",
    "node/engine/selftest.py", "node/models/demo/demo.gguf",
)  # fmt: skip
"""What `make install` runs, and reads besides the lock."""
BROUGHT_BY_VENV = {"pip", "setuptools"}
BACKEND = """
import zipfile
from pathlib import Path

def build_editable(folder, settings=None, metadata=None):
    from importlib import metadata as installed

    tools = {tool.metadata["Name"]: tool.version for tool in installed.distributions()}
    Path("built-with").write_text(tools.get("buildtool", ""))
    name = "idlewatt-0.1.0"
    with zipfile.ZipFile(Path(folder, f"{name}-py3-none-any.whl"), "w") as wheel:
        for file in ("METADATA", "WHEEL", "RECORD"):
            wheel.write(file, f"{name}.dist-info/{file}")
    return f"{name}-py3-none-any.whl"
"""
"""Builds the project's own wheel in the scratch checkout: setuptools would have to come from PyPI."""


@dataclass(frozen=True, slots=True)
class Offline:
    """A lock whose hashes are those of an index of its own, which offers newer releases as well."""

    lock: Path
    expected: dict[str, str]
    """The version that the lock pins here, by package."""
    environment: dict[str, str]


@pytest.fixture(scope="module")
def our_packages() -> dict[str, Distribution]:
    return index.installed([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])


@pytest.fixture
def offline(request, tmp_path, our_packages) -> Offline:
    """The lock that the test asks for by its name in ``LOCKS``."""
    real = LOCKS[request.param]
    return serve(tmp_path, real.read_text(), packages_of(request.param, our_packages))


def packages_of(name: str, ours: dict[str, Distribution]) -> dict[str, Distribution]:
    if name != "eels":
        return ours
    return index.installed(str(folder) for folder in eels_process.eels_python().parents[1].glob("lib/*/site-packages"))


def serve(folder: Path, text: str, packages: dict[str, Distribution]) -> Offline:
    simple = folder / "simple"
    simple.mkdir()
    hashes = index.fill(simple, text, packages)
    lock = folder / "requirements.lock"
    lock.write_text(index.rehashed(text, hashes))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": simple.as_uri(), "PIP_NO_CACHE_DIR": "1"}
    caches = {"XDG_CACHE_HOME": str(folder / "cache")}
    return Offline(lock, dict(hashes.keys()), clean | pip | caches)


def everywhere(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("offline", names, indirect=True)


def resolve(lock: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What pip would install by the lock, looking at dependencies too, as somebody's own command would."""
    return subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-",
            "--require-hashes", "-r", lock,
        ],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


@everywhere("install", "dev", "eels")
def test_a_lock_resolves_to_its_own_pins_though_newer_releases_exist(offline):
    done = resolve(offline.lock, offline.environment)

    assert done.returncode == 0, done.stderr
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    assert {index.canonicalize_name(each["name"]): each["version"] for each in found} == offline.expected


@everywhere("install", "dev")
def test_without_its_extras_a_lock_does_not_resolve_once_newer_releases_exist(offline):
    stripped = index.without_extras(offline.lock.read_text())
    assert stripped != offline.lock.read_text()
    offline.lock.write_text(stripped)

    done = resolve(offline.lock, offline.environment)

    assert done.returncode != 0
    assert "In --require-hashes mode, all requirements must have their versions pinned" in done.stderr


def test_make_installs_exactly_what_each_lock_says(tmp_path, our_packages):
    checkout = scratch_checkout(tmp_path / "checkout")
    for target, lock in (("install", "requirements.lock"), ("dev", "requirements-dev.lock")):
        (tmp_path / target).mkdir()
        offline = serve(tmp_path / target, LOCKS[target].read_text(), our_packages)
        shutil.copy(offline.lock, checkout / lock)

        done = run_make(checkout, target, offline)

        assert done.returncode == 0, done.stdout + done.stderr
        assert versions_in(checkout, offline) == offline.expected | {"idlewatt": "0.1.0"}


def test_make_says_so_when_the_lock_lacks_what_the_project_asks_for(tmp_path, our_packages):
    checkout = scratch_checkout(tmp_path / "checkout")
    offline = serve(tmp_path, index.only(LOCKS["install"].read_text(), "click"), our_packages)
    shutil.copy(offline.lock, checkout)

    done = run_make(checkout, "install", offline)

    assert done.returncode != 0
    assert "idlewatt 0.1.0 requires segno, which is not installed." in done.stdout + done.stderr
    assert "requires click" not in done.stdout + done.stderr
    assert "Run make lock ARGS=--keep first." in done.stderr


def test_make_builds_packages_with_the_pinned_tools_though_newer_ones_exist(tmp_path, our_packages):
    checkout = scratch_checkout(tmp_path / "checkout", build_requires=["buildtool"])
    (checkout / "requirements-build.lock").write_text("buildtool==1.0\n")
    offline = serve(tmp_path, LOCKS["install"].read_text(), our_packages)
    shutil.copy(offline.lock, checkout)
    page = tmp_path / "simple" / "buildtool"
    page.mkdir()
    for version in ("1.0", "1.1"):
        index.wheel(page, "buildtool", version, [])
    (page / "index.html").write_text("".join(f'<a href="{file.name}">{file.name}</a>\n' for file in page.glob("*.whl")))

    done = run_make(checkout, "install", offline)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / "built-with").read_text() == "1.0"


@everywhere("eels")
def test_the_specification_s_environment_holds_exactly_what_its_lock_says(offline, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in offline.environment.items():
        monkeypatch.setenv(name, value)

    eels_process.install(tmp_path / "checkout" / ".venv", offline.lock)

    assert versions_in(tmp_path / "checkout", offline) == offline.expected


def scratch_checkout(folder: Path, build_requires: Sequence[str] = ()) -> Path:
    """This repository's Makefile and what the project asks for, without locks of what is installed."""
    folder.mkdir()
    for name in INSTALLER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    asks = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    metadata = ["Metadata-Version: 2.1", "Name: idlewatt", "Version: 0.1.0", *(f"Requires-Dist: {ask}" for ask in asks)]
    files = {
        "METADATA": "\n".join([*metadata, ""]),
        "WHEEL": index.WHEEL,
        "RECORD": "",
        "backend.py": BACKEND,
        "pyproject.toml": "\n".join(
            [
                "[build-system]",
                f"requires = {list(build_requires)}",
                'build-backend = "backend"',
                'backend-path = ["."]',
                "",
            ]
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def run_make(checkout: Path, target: str, offline: Offline) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={sys.executable}"],
        cwd=checkout, env=offline.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def versions_in(checkout: Path, offline: Offline) -> dict[str, str]:
    """What is installed, without what `python -m venv` brings along and the lock doesn't name."""
    found = index.installed(str(folder) for folder in (checkout / ".venv").glob("lib/*/site-packages"))
    return {
        name: real.version for name, real in found.items() if name in offline.expected or name not in BROUGHT_BY_VENV
    }
