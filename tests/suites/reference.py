"""The reference for chat templates: `transformers`, in an environment of its own, since it is of no use to us else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.suites.row import SourceError

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
INSTALL_S = 900
RENDER_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A conversation for a template."""

    name: str
    template: str
    messages: list[dict[str, str]]
    is_continued: bool = False
    """Whether the last message is to be continued."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further names that the template sees."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a renderer made of a case: a prompt, or the reason that there is none."""

    prompt: str | None
    reason: str = ""


def reference_python() -> Path:
    """The environment's interpreter, made at the first call and kept in the user's cache.

    Raises:
        SourceError: If it can't be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "suites"
    seed = LOCK.read_bytes() + sys.version.encode() + sys.base_prefix.encode()
    home = cache / hashlib.sha256(seed).hexdigest()[:16]
    if not home.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache))
        try:
            _install(scratch)
            scratch.rename(home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return home / "bin" / "python"


def _install(folder: Path) -> None:
    venv.create(folder, symlinks=True, with_pip=False)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-compile",
            "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--no-deps", "--require-hashes",
            "-r", LOCK,
        ],
        capture_output=True, text=True, timeout=INSTALL_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise SourceError(f"the reference renderer can't be installed ({reason}).")


def rendered(cases: list[Case]) -> list[Rendered]:
    """What the reference makes of each case.

    Raises:
        SourceError: If it can't be run.
    """
    done = subprocess.run(
        [reference_python(), "-I", HERE / "render_reference.py"],
        input=json.dumps([asdict(case) for case in cases]),
        capture_output=True, text=True, timeout=RENDER_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SourceError(f"the reference renderer failed: {done.stderr.strip()[-400:]}")
    return [Rendered(*one) for one in json.loads(done.stdout)]
