"""The installed build of llama.cpp: whether it works, which GPUs it sees, and the command that builds it again.

The command depends on how Idlewatt was installed. What builds llama.cpp keeps one wheel a version, whatever options it
was built with; each command here makes it build anew.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from node.engine import selftest
from node.hardware.backend import LEAST_GPU_BYTES, llama_version
from node.hardware.reading import DeviceReading, DeviceSource
from node.hardware.sampler import HardwareSampler, default_sources
from node.models.demo import demo_model_path
from node.values import Health, HealthItem

PACKAGE: Final = "llama-cpp-python"
SELFTEST_TIMEOUT_S: Final = 120.0
_OPTIONS: Final = {"nvml": "-DGGML_CUDA=on", "amdgpu": "-DGGML_VULKAN=on"}
"""What to build for, by the source that told of the GPU."""
_GPU_BACKENDS: Final = frozenset({"CUDA", "ROCm", "MUSA", "Vulkan", "SYCL", "OpenCL", "MTL", "Metal", "CANN"})
InstalledBy = Literal["make", "pipx", "uv", "pip"]


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """How Idlewatt was installed, and where."""

    by: InstalledBy
    prefix: Path
    """The environment."""
    checkout: Path
    """The folder of the source, if it was installed by ``make``."""

    def rebuild_command(self, cmake_args: str = "", folder: Path | None = None) -> str:
        """The shell command that builds llama.cpp again and keeps the old build if that fails.

        Args:
            cmake_args: Options for CMake; without any the same as before.
            folder: Where the command will be typed; the working directory if not given.
        """
        options = f'CMAKE_ARGS="{cmake_args}" ' if cmake_args else ""
        if self.by == "make":
            here = self.checkout == (Path.cwd() if folder is None else folder)
            where = "" if here else f"-C {shlex.quote(str(self.checkout))} "
            return f"{options}make {where}{'install' if cmake_args else 'rebuild'}"
        wanted = f"{PACKAGE}=={llama_version()}"
        python = shlex.quote(str(self.prefix / "bin" / "python"))
        if self.by == "uv":
            anew = f"--no-cache --no-deps --reinstall --no-binary {PACKAGE}"
            return f"{options}uv pip install --python {python} {anew} {wanted}"
        pip = "pipx runpip idlewatt" if self.by == "pipx" else f"{python} -m pip"
        return f"{options}{pip} install --no-cache-dir --no-deps --force-reinstall --no-binary {PACKAGE} {wanted}"


def installation(prefix: Path = Path(sys.prefix), package: Path = Path(__file__).parent) -> Installation:
    """Find out how this Idlewatt was installed.

    Args:
        prefix: The environment's folder.
        package: The folder of the package ``app``.
    """
    checkout = package.parent
    by: InstalledBy = "pip"
    if (checkout / ".ci" / "install.py").exists() and prefix == checkout / ".venv":
        by = "make"
    elif (prefix / "pipx_metadata.json").exists():
        by = "pipx"
    elif (prefix / "uv-receipt.toml").exists() or not any(prefix.glob("lib/python*/site-packages/pip")):
        by = "uv"  # `uv tool` leaves a receipt, and no environment that uv makes has pip
    return Installation(by=by, prefix=prefix, checkout=checkout)


class BuildDevice(msgspec.Struct, frozen=True):
    """A device that a backend of llama.cpp sees."""

    name: str
    description: str
    is_gpu: bool


class Build(msgspec.Struct, frozen=True):
    """What a working build says of itself."""

    token: str
    backends: tuple[str, ...]
    devices: tuple[BuildDevice, ...]


async def try_build(libraries: Path | None = None, timeout_s: float = SELFTEST_TIMEOUT_S) -> Build | str:
    """Let the installed build load the demo model and produce a token, in a child, since it may crash.

    Args:
        libraries: The folder that holds the package ``llama_cpp``; by default the installed one.
        timeout_s: How long it may take.

    Returns:
        What the build is, or one line that says why it doesn't work.

    Raises:
        OSError: If no process can be started.
    """
    folder = libraries if libraries is not None else _libraries()
    if folder is None:
        return f"{PACKAGE} is not installed"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", selftest.__file__, str(folder), str(demo_model_path()),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await process.communicate()
    except TimeoutError:
        return f"no token in {timeout_s:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(output.strip().rpartition(b"\n")[2], type=Build)
    except msgspec.DecodeError:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return f"{last[0][:200]} (exit status {process.returncode})"


def _libraries() -> Path | None:
    spec = importlib.util.find_spec("llama_cpp")
    return Path(spec.origin).parents[1] if spec is not None and spec.origin is not None else None


def gpus(sources: Sequence[DeviceSource] | None = None) -> tuple[DeviceReading, ...]:
    """The GPUs of this machine on which models are worth running; blocks while drivers are asked."""
    sampler = HardwareSampler(default_sources() if sources is None else sources)
    try:
        devices = sampler.sample().devices
    finally:
        sampler.close()
    return tuple(
        device
        for device in devices
        if device.kind == "gpu" and device.source in _OPTIONS and (device.memory_total_bytes or 0) >= LEAST_GPU_BYTES
    )


def judge(build: Build | str, found: Sequence[DeviceReading], installed: Installation) -> HealthItem:
    """Whether the build works, and uses the GPUs that the machine has.

    Args:
        build: What `try_build` gave.
        found: What `gpus` gave.
        installed: How to build it again.
    """
    if isinstance(build, str):
        fix = f"Build it again: {installed.rebuild_command()}"
        return HealthItem(name="llama.cpp", health=Health.FAIL, detail=build, fix=fix)
    version, names = llama_version(), ", ".join(dict.fromkeys(device.name for device in found))
    seen = [device.description for device in build.devices if device.is_gpu]
    if seen:
        detail = f"{version}, uses {', '.join(seen)} ({', '.join(build.backends)})"
        return HealthItem(name="llama.cpp", health=Health.OK, detail=detail)
    built_for = [name for name in build.backends if name in _GPU_BACKENDS]
    if built_for and found:
        detail = f"{version}, built for {', '.join(built_for)}, yet it sees no GPU, and this machine has {names}"
        fix = "Check the driver (nvidia-smi, vulkaninfo, rocminfo); models run on the processor until then."
        return HealthItem(name="llama.cpp", health=Health.WARN, detail=detail, fix=fix)
    if found:
        detail = f"{version}, built for the CPU only, yet this machine has {names}"
        fix = f"Rebuild with GPU support: {installed.rebuild_command(_OPTIONS[found[0].source])}"
        return HealthItem(name="llama.cpp", health=Health.WARN, detail=detail, fix=fix)
    built = f"built for {', '.join(built_for)}, but no GPU is found here" if built_for else "CPU (no GPU found here)"
    return HealthItem(name="llama.cpp", health=Health.OK, detail=f"{version}, {built}")


async def unused_gpu(
    find: Callable[[], Sequence[DeviceReading]] = gpus, attempt: Callable[[], Awaitable[Build | str]] = try_build
) -> str:
    """One line for who rents out on the processor though there is a GPU; empty if all is well.

    Args:
        find: Gives the machine's GPUs; blocks.
        attempt: Tries the installed build.
    """
    found = await asyncio.to_thread(find)
    if not found:
        return ""
    item = judge(await attempt(), found, installation())
    # A build that doesn't work at all is told by the engine.
    return (
        f"The model runs on the processor. llama.cpp: {item.detail}. {item.fix}" if item.health is Health.WARN else ""
    )
