"""Foundry's native binaries for tests, fetched once by npm at the versions and integrity of their lock file."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

import pytest

from chain.contracts import build

PACKAGE = Path(__file__).parent / "foundry"
FETCH_TIMEOUT_S = 300
_UNREACHABLE = re.compile(r"EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def foundry_binary(name: Literal["anvil", "forge"]) -> Path:
    """A binary, from the user's cache; the test is skipped without one for this machine, npm or a network."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip(f"the pinned {name} is for Linux on x86-64")
    if shutil.which("npm") is None:
        pytest.skip(f"{name} comes from npm, which is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "foundry"
    home = cache / hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    if not home.is_dir():
        _install(cache, home)
    return home / _inside(name)


def _install(cache: Path, home: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PACKAGE / name, scratch)
        command = [*build._npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        build._run(command, FETCH_TIMEOUT_S, cwd=scratch)
        for binary in ("anvil", "forge"):
            (scratch / _inside(binary)).chmod(0o755)
        scratch.rename(home)
    except build.ContractBuildError as error:
        if _UNREACHABLE.search(str(error)):
            pytest.skip("Foundry comes from npm's registry, which can't be reached")
        raise
    except OSError:
        if not home.is_dir():  # else another test won the race: its tree is the same
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _inside(name: str) -> Path:
    return Path("node_modules") / "@foundry-rs" / f"{name}-linux-amd64" / "bin" / name
