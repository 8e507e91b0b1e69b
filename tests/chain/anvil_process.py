"""A real anvil for tests: its native binary, fetched once by npm at the version and integrity of its lock file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chain.contracts import build
from tests.patience import PATIENCE_S

PACKAGE = Path(__file__).parent / "anvil"
BINARY = "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
_UNREACHABLE = re.compile(r"EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def anvil_binary() -> Path:
    """The binary, from the user's cache; the test is skipped without one for this machine, npm or a network."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the pinned anvil is for Linux on x86-64")
    if shutil.which("npm") is None:
        pytest.skip("anvil comes from npm, which is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "anvil"
    home = cache / hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    if not (home / BINARY).is_file():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(PACKAGE / name, scratch)
            build._run([*build._npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], 120, cwd=scratch)
            (scratch / BINARY).chmod(0o755)
            scratch.rename(home)
        except build.ContractBuildError as error:
            if _UNREACHABLE.search(str(error)):
                pytest.skip("anvil comes from npm's registry, which can't be reached")
            raise
        except OSError:
            if not (home / BINARY).is_file():  # else another test won the race: its tree is the same
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return home / BINARY


@asynccontextmanager
async def anvil(*options: str) -> AsyncIterator[str]:
    """Run an anvil on a free port; yields its URL. It is stopped and waited for at the end."""
    process = await asyncio.create_subprocess_exec(
        anvil_binary(), "--host", "127.0.0.1", "--port", "0", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = (await process.stdout.readline()).decode()
                assert line, "anvil ended before it listened"
                if found := re.search(r"Listening on ([0-9.:]+)", line):
                    break
        drain = asyncio.create_task(process.stdout.read())
        yield f"http://{found[1]}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drain is not None:
            await drain
