"""Owns one worker process: starts it, carries frames both ways, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from node.engine import ipc
from node.engine.protocol import OVERTIME_SIGNAL, EngineError
from node.engine.reason import last_words
from node.engine.watchdog import LEAST_STALL_SECONDS, Progress

WORKER_MODULE = "node.engine.worker"
MAX_LOG_BYTES = 4 * 1024 * 1024
_LAST_BYTES = 16 * 1024
_SECRET_PREFIX = "IDLEWATT_"  # noqa: S105 - the prefix of variables that may hold a passphrase
_SPIN_COUNT = 2_000
"""How long a compute thread spins before it sleeps while it waits for the others (GNU OpenMP's default: 300,000).

Wherever another program takes a core for a moment, the default turns a token's milliseconds into hundreds of them.
"""
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_SOCKET_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How a worker's process is started, watched, ended, and started again."""

    python: str = sys.executable
    quit_s: float = 1.5
    """A person who wants the machine gets its memory back within two seconds: a slower worker is killed."""
    max_log_bytes: int = MAX_LOG_BYTES
    """A larger log is put aside before the worker starts."""
    stall_s: float = LEAST_STALL_SECONDS
    """The shortest silence in seconds after which it is checked; a worker without progress is killed."""
    load_stall_s: float = LEAST_STALL_SECONDS
    """The same while it starts and loads."""
    backoff_s: float = 1.0
    """The wait before the first restart; it doubles with every failure in a row."""
    max_backoff_s: float = 30.0
    healthy_s: float = 60.0
    """A worker that was ready and lived this long ends a row of failures."""
    max_failed_loads: int = 3


DEFAULT_LIFECYCLE = Lifecycle()


class WorkerProcess(asyncio.Protocol):
    """A running worker. Made by `start`; ends by `stop`, `kill`, or by itself, and then calls `on_gone` once.

    Args:
        on_frame: Called with each frame it sends.
        on_gone: Called once its end of the socket is closed or it sent nonsense.
        quit_s: How long it may take to end in good order.
    """

    def __init__(self, on_frame: Callable[[ipc.FromWorker], None], on_gone: Callable[[], None], quit_s: float) -> None:
        self._quit_s = quit_s
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._decoder = ipc.FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._handle: int | None = None
        self._log: tuple[Path, int] | None = None
        self._reported = False
        self.heard_at = asyncio.get_running_loop().time()

    @classmethod
    async def start(
        cls,
        log_path: Path,
        on_frame: Callable[[ipc.FromWorker], None],
        on_gone: Callable[[], None],
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> WorkerProcess:
        """Start the child process; it waits for its `Load` frame.

        Args:
            log_path: Where its output goes.
            on_frame: Called with each frame it sends.
            on_gone: Called once its end of the socket is closed or it sent nonsense.
            lifecycle: How it is started and ended.

        Raises:
            EngineError: If it can't be started.
        """
        worker = cls(on_frame, on_gone, lifecycle.quit_s)
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            with theirs, open_log(log_path, lifecycle.max_log_bytes) as log:
                worker._log = (log_path, log.seek(0, os.SEEK_END))
                worker._process = await asyncio.create_subprocess_exec(
                    lifecycle.python,
                    "-m",
                    WORKER_MODULE,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    env=worker_environment(),
                    start_new_session=True,
                )
            worker._handle = _open_handle(worker._process.pid)
            ours.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda: worker, sock=ours)
        except OSError as error:
            ours.close()
            await worker.kill()
            raise EngineError(
                f"The engine worker can't be started: {error.strerror or error}.",
                code="engine_crashed",
                fix="Check the disk and the rights of the log directory.",
            ) from error
        except BaseException:
            ours.close()
            await worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None
        return self._process.pid

    def send(self, *items: ipc.ToWorker) -> None:
        """Send frames; what is sent to a worker that just ended is lost, and `on_gone` is called."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ipc.encode(items))

    async def stop(self) -> None:
        """End it in good order, or by force if it takes too long."""
        self.send(ipc.Quit())
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._quit_s):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once, and wait until the kernel has forgotten it."""
        if self._process is not None:
            if self._process.returncode is None:
                self._send_kill(self._process.pid)
            await asyncio.shield(self._process.wait())
            self._close_handle()
        if self._transport is not None:
            self._transport.abort()

    def _send_kill(self, pid: int) -> None:
        # Not `Process.kill`: it polls first, and so takes the exit status away from asyncio's watcher.
        with contextlib.suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)

    def _close_handle(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def progress(self) -> Progress:
        """What the child has computed and read so far; nothing more once it is gone."""
        try:
            process = psutil.Process(self.pid)
            times = process.cpu_times()
            read = process.io_counters().read_bytes if hasattr(process, "io_counters") else 0
        except psutil.Error:
            return Progress(0.0, 0)
        return Progress(times.user + times.system, read)

    def describe_end(self) -> str:
        """How it ended, for a person; to be called once it is gone."""
        code = None if self._process is None else self._process.returncode
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        whys: dict[int, str] = {
            signal.SIGKILL: ", perhaps for lack of memory",
            OVERTIME_SIGNAL: ": the chat template takes too much time",
        }
        return f"killed by {name}{whys.get(-code, '')}"

    def last_words(self) -> str:
        """What it logged last about why it died, without folders; empty if its log says nothing. Reads a little."""
        if self._log is None:
            return ""
        path, begin = self._log
        try:
            with path.open("rb") as log:
                log.seek(max(begin, log.seek(0, os.SEEK_END) - _LAST_BYTES))
                return last_words(log.read(_LAST_BYTES).decode("utf-8", "replace"))
        except OSError:  # the log is gone: there is nothing to add
            return ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self.heard_at = asyncio.get_running_loop().time()
        try:
            frames: Sequence[ipc.FromWorker] = self._decoder.feed_from_worker(data)
        except EngineError:
            self._report_gone()
            return
        for frame in frames:
            self._on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._report_gone()

    def _report_gone(self) -> None:
        if not self._reported:
            self._reported = True
            self._on_gone()


def _open_handle(pid: int) -> int | None:
    """A handle that stays this process's even if its number is used again (Linux)."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:  # it ended already
        return None


def worker_environment() -> dict[str, str]:
    """Variables for a child that reads strangers' files: none of them may hold a passphrase."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIX)}
    paths = [str(_PACKAGE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment.setdefault("GOMP_SPINCOUNT", str(_SPIN_COUNT))
    # At an abort it would start a debugger, if there is one, and write what that sees of the stack into the log.
    environment.setdefault("GGML_NO_BACKTRACE", "1")
    return environment


def open_log(path: Path, max_bytes: int = MAX_LOG_BYTES) -> BinaryIO:
    """A private log to append to; one that has grown beyond so many bytes is put aside as ``….1``."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > max_bytes:
            path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)
