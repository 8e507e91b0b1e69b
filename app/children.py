"""Child processes that end with this process, also when it is killed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chain.errors import IdlewattError

PR_SET_PDEATHSIG = 1
MAX_READY_LINE_BYTES = 16_384
GRACE_S = 10.0
LIFELINE_FLAG = "--with-parent"


class ChildError(IdlewattError):
    """A child process did not start, or ended before its time."""

    default_code = "child_failed"


@dataclass(frozen=True)
class Child:
    """A running child: its process, and what it said when it was ready."""

    name: str
    process: asyncio.subprocess.Process
    ready: Mapping[str, object]
    log_path: Path

    async def ended(self) -> ChildError:
        """Wait until it ends by itself; the error to raise then."""
        status = await self.process.wait()
        return ChildError(f"The {self.name} process ended unexpectedly (status {status}).", fix=f"See {self.log_path}.")


@asynccontextmanager
async def child(
    name: str, arguments: Sequence[str], *, log_path: Path, ready_timeout_s: float = 60.0
) -> AsyncIterator[Child]:
    """Run ``idlewatt <arguments>`` as a child until the block ends.

    The child prints one JSON line on stdout when it is ready; its stderr goes to ``log_path``. Its stdin is a pipe
    that only we hold
    open, so it ends with us however we end.

    Raises:
        ChildError: If it ends or stays silent before being ready; the message holds its own last line.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        start = log.tell()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.cli", *arguments, LIFELINE_FLAG, "--json",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            limit=MAX_READY_LINE_BYTES, start_new_session=True,
        )  # fmt: skip
    try:
        yield Child(name, process, await _ready(name, process, log_path, start, ready_timeout_s), log_path)
    finally:
        await _end(process)


async def _ready(
    name: str, process: asyncio.subprocess.Process, log_path: Path, start: int, timeout_s: float
) -> Mapping[str, object]:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            line = await process.stdout.readline()
            if line:
                return msgspec.json.decode(line, type=dict[str, object])
            await process.wait()
    except TimeoutError:
        raise ChildError(f"The {name} process was not ready after {timeout_s:.0f} s.", fix=f"See {log_path}.") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ChildError(f"The {name} process said something that is no JSON.", fix=f"See {log_path}.") from None
    raise ChildError(f"The {name} process did not start: {_last_line(log_path, start)}")


def _last_line(log_path: Path, start: int) -> str:
    with log_path.open("rb") as log:
        log.seek(max(start, log.seek(0, os.SEEK_END) - 4_096))
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("idlewatt: ") if lines else "it said nothing."


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    if process.stdout is not None:
        # Reading to the end is what lets asyncio close the pipe.
        await process.stdout.read()


async def hold_lifeline(stop: asyncio.Event) -> None:
    """In the child: set ``stop`` when standard input ends, and ask the kernel for SIGTERM should the parent die."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    os.set_blocking(descriptor, False)

    def read() -> None:
        try:
            if os.read(descriptor, 1_024):
                return
        except BlockingIOError:
            return
        except OSError:
            # The pipe is broken: the parent has ended.
            stop.set()
        loop.remove_reader(descriptor)
        stop.set()

    try:
        loop.add_reader(descriptor, read)
    except PermissionError:
        # The null device or a file, which can't be waited for: nobody holds a lifeline.
        stop.set()
