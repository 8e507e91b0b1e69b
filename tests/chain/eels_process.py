"""EELS, Ethereum's executable specification, in an environment of its own: it wants older libraries than we do."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S

HERE = Path(__file__).parent / "eels"
LOCK = HERE / "requirements.lock"
_UNREACHABLE = re.compile(r"connection broken by|ConnectionError|NewConnectionError|ConnectTimeout|ReadTimeout")
_FORGED = "DO NOT MATCH THE HASHES"


def eels_python() -> Path:
    """The environment's interpreter, from the user's cache; the test is skipped where PyPI can't be reached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "eels"
    seed = LOCK.read_bytes() + sys.version.encode() + sys.base_prefix.encode()
    home = cache / hashlib.sha256(seed).hexdigest()[:16]
    if not home.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache))
        try:
            install(scratch)
            scratch.rename(home)
        except OSError:
            if not home.is_dir():  # else another test won the race: its tree is the same
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return home / "bin" / "python"


def install(folder: Path, lock: Path = LOCK) -> None:
    """Make an environment of exactly what ``lock`` says; the test is skipped where PyPI can't be reached."""
    venv.create(folder, symlinks=True, with_pip=False)
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet",
                "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "15", "--no-compile",
                "--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", lock,
            ],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip(f"EELS comes from PyPI, which took longer than {PATIENCE_S} s")
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr) and _FORGED not in done.stderr:
        pytest.skip("EELS comes from PyPI, which can't be reached")
    assert done.returncode == 0, done.stderr[-4_000:]


def run_eels(chain: dict[str, Any]) -> dict[str, Any]:
    """What `tests/chain/eels/run.py` says about a chain."""
    done = subprocess.run(
        [eels_python(), "-I", HERE / "run.py"],
        input=json.dumps(chain), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
