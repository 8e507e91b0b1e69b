"""What the engine is measured against: llama.cpp's own programs, of the same commit as the library we run on.

``python -m bench.peers`` builds `llama-batched-bench` and `llama-server` from the sources inside llama-cpp-python's
own sdist, once, into the cache folder: about ten minutes of one processor. They run with the installed wheel's
libraries, so that both sides execute the same machine code, and with the environment that the engine gives its worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import aiohttp
import msgspec

from bench.cache import cache_folder

PACKAGE = "llama-cpp-python"
PROGRAMS = ("llama-batched-bench", "llama-server")
NEEDED = {"cmake": "cmake", "cc": "gcc", "c++": "g++"}
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_TOOLS_INSTALL=OFF",
)  # fmt: skip
PR_SET_PDEATHSIG = 1
READY_S = 120.0
END_S = 10.0


class PeerError(Exception):
    """A peer can't be built or does not run; the text says what to do."""


@dataclass(frozen=True)
class PeerSettings:
    """What every side is given alike."""

    model: Path
    threads: int
    slots: int
    cache_tokens: int
    batch_tokens: int
    micro_batch_tokens: int
    flash_attention: bool
    repack: bool
    """Whether weights may be rearranged for faster kernels: the engine leaves that out where these crash."""
    waiting: tuple[tuple[str, str], ...] = ()
    """Environment variables that say how compute threads wait for each other."""

    def arguments(self) -> list[str]:
        """The options of llama.cpp's programs."""
        return [
            "-m", str(self.model), "-t", str(self.threads), "-tb", str(self.threads), "-c", str(self.cache_tokens),
            "-b", str(self.batch_tokens), "-ub", str(self.micro_batch_tokens), "-kvu", "-ctk", "f16", "-ctv", "f16",
            "-fa", "on" if self.flash_attention else "off", *([] if self.repack else ["--no-repack"]),
        ]  # fmt: skip


@dataclass(frozen=True)
class Programs:
    """Where the built programs are."""

    batched_bench: Path
    server: Path


class BatchedBench(msgspec.Struct, frozen=True):
    """One line of `llama-batched-bench`: seconds for reading all prompts, and for all tokens after them."""

    pp: int
    tg: int
    pl: int
    t_pp: float
    t_tg: float

    @property
    def tokens_per_s(self) -> float:
        """New tokens of all sequences over the whole time, prompts included."""
        return self.pl * self.tg / (self.t_pp + self.t_tg)

    @property
    def decode_tokens_per_s(self) -> float:
        """New tokens of all sequences over the time after the prompts."""
        return self.pl * self.tg / self.t_tg


def build() -> Programs:
    """The programs; downloaded and compiled first if they are not there.

    Raises:
        PeerError: If a tool is missing or the build fails.
    """
    folder = cache_folder() / f"llama.cpp-{version(PACKAGE)}"
    built = folder / "build" / "bin"
    programs = Programs(*(built / name for name in PROGRAMS))
    done = folder / "done"
    if not done.exists():
        if missing := [package for tool, package in NEEDED.items() if shutil.which(tool) is None]:
            raise PeerError(f"Install {' and '.join(missing)} to build llama.cpp's own programs.")
        _fetch_source(folder)
        _compile(folder)
        done.touch()
    return programs


def _fetch_source(folder: Path) -> None:
    if (folder / "src" / "CMakeLists.txt").exists():
        return
    print(f"fetching the sources of {PACKAGE} {version(PACKAGE)} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        _run(
            [
                sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE,
                f"{PACKAGE}=={version(PACKAGE)}", "-d", name,
            ]
        )  # fmt: skip
        (sdist,) = Path(name).glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(name, filter="data")
        (source,) = Path(name).glob("*/vendor/llama.cpp")
        folder.mkdir(exist_ok=True)
        source.rename(folder / "src")


def _compile(folder: Path) -> None:
    print("compiling llama.cpp's own programs: minutes, once ...", file=sys.stderr, flush=True)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(["cmake", "-S", str(folder / "src"), "-B", str(folder / "build"), *generator, *OPTIONS], folder / "cmake.log")
    jobs = str(os.cpu_count() or 1)
    _run(["cmake", "--build", str(folder / "build"), "-j", jobs, "--target", *PROGRAMS])


def _run(command: Sequence[str], log: Path | None = None) -> None:
    """Run a command; its output goes to a file, or is progress and goes to stderr."""
    with contextlib.ExitStack() as stack:
        target = sys.stderr if log is None else stack.enter_context(log.open("w"))
        status = subprocess.run(command, stdout=target, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        where = f"; its output is in {log}" if log is not None else ""
        raise PeerError(f"{command[0]} ended with status {status}{where}.")


def environment(load: PeerSettings, *, libraries: bool = True) -> dict[str, str]:
    """Ours, the engine worker's manner of waiting, and for llama.cpp's programs the wheel's libraries first."""
    variables = dict(os.environ) | dict(load.waiting)
    if libraries:
        spec = importlib.util.find_spec("llama_cpp")
        assert spec is not None
        assert spec.origin is not None
        variables["LD_LIBRARY_PATH"] = str(Path(spec.origin).parent / "lib")
    return variables


def _die_with_parent() -> None:
    """In the child, before it becomes the program: have Linux end it with us, however we end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def batched_bench(
    programs: Programs, load: PeerSettings, *, prompt: int, tokens: int, streams: int
) -> BatchedBench:
    """Run the limit once, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        programs.batched_bench, *load.arguments(), "-npp", str(prompt), "-ntg", str(tokens), "-npl", str(streams),
        "--output-format", "jsonl",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment(load), preexec_fn=_die_with_parent,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        await _end(process)
    lines = [line for line in output.splitlines() if line.startswith(b"{")]
    if process.returncode or not lines:
        raise PeerError(f"llama-batched-bench ended with status {process.returncode}.")
    return msgspec.json.decode(lines[-1], type=BatchedBench)


@asynccontextmanager
async def llama_server(programs: Programs, load: PeerSettings, log: Path) -> AsyncIterator[str]:
    """A running `llama-server` with as many slots; its URL."""
    port = _free_port()
    command = [
        str(programs.server), *load.arguments(), "-np", str(load.slots), "--host", "127.0.0.1", "--port", str(port),
        "--no-webui", "--cont-batching", "--cache-ram", "0", "--no-warmup",
    ]  # fmt: skip
    async with _serving(command, environment(load), log, port, "/health") as url:
        yield url


@asynccontextmanager
async def python_server(load: PeerSettings, log: Path) -> AsyncIterator[str]:
    """A running `llama_cpp.server`, the high-level API behind HTTP; its URL."""
    port = _free_port()
    command = [
        sys.executable, "-m", "bench.python_server", *([] if load.repack else ["--no-repack"]),
        "--model", str(load.model), "--n_ctx", str(load.cache_tokens // load.slots), "--n_threads", str(load.threads),
        "--n_threads_batch", str(load.threads), "--n_batch", str(load.batch_tokens),
        "--n_ubatch", str(load.micro_batch_tokens), "--flash_attn", str(load.flash_attention),
        "--logits_all", "False", "--interrupt_requests", "False", "--verbose", "False",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    async with _serving(command, environment(load, libraries=False), log, port, "/v1/models") as url:
        yield url


@asynccontextmanager
async def _serving(
    command: Sequence[str], env: Mapping[str, str], log: Path, port: int, path: str
) -> AsyncIterator[str]:
    """A child process that answers on a port, until the block ends."""
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(env), preexec_fn=_die_with_parent,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    try:
        await _until_ready(process, url + path, log)
        yield url
    finally:
        await _end(process)


async def _until_ready(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as client:
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise PeerError(f"{log.stem} ended with status {process.returncode}:\n{_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Build them, and say where they are."""
    try:
        programs = build()
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    print(programs.batched_bench, programs.server, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
