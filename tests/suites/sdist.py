"""The sdist of llama-cpp-python that `requirements.lock` pins: its llama.cpp brings templates and vocabularies."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.suites.row import SourceError

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^llama-cpp-python==\S+(?: \\\n\s+--hash=\S+)+", re.MULTILINE)
DOWNLOAD_S = 600


def unpacked(folder: Path) -> Path:
    """The sdist, downloaded by pip with its hash checked, and unpacked into a folder.

    Args:
        folder: Where it is kept; a copy that is already there is used again.

    Raises:
        SourceError: If it can't be had.
    """
    found = _PIN.search((ROOT / "requirements.lock").read_text())
    if found is None:
        raise SourceError("requirements.lock pins no llama-cpp-python.")
    pin = found.group()
    name = pin.split(" ", 1)[0].replace("llama-cpp-python==", "llama_cpp_python-")
    target = folder / name
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = _download(pin, Path(scratch))
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (Path(scratch) / name).rename(target)
    return target


def _download(pin: str, scratch: Path) -> Path:
    lock = scratch / "requirements.lock"
    lock.write_text(pin + "\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
            "--require-hashes", "-d", scratch, "-r", lock,
        ],
        capture_output=True, text=True, timeout=DOWNLOAD_S, check=False,
    )  # fmt: skip
    archives = list(scratch.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise SourceError(f"llama-cpp-python's sdist can't be downloaded ({reason}). Name a copy with SDIST=PATH.")
    return archives[0]
