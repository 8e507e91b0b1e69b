"""Which hardware the installed llama.cpp build computes on, and how many cores this process may use."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

from node.values import DeviceView

LEAST_GPU_BYTES: Final = 2 << 30
"""A GPU with less memory of its own is a processor's own graphics, on which models gain little."""
_BACKENDS = {
    "cuda": "cuda",
    "metal": "metal",
    "mtl": "metal",
    "vulkan": "vulkan",
    "rocm": "rocm",
    "hip": "rocm",
    "sycl": "sycl",
}


def backend_of(system_info: str) -> str:
    """The backend that llama.cpp's system information line names first, ``cpu`` if no other."""
    for part in system_info.split("|"):
        name = part.partition(":")[0].strip().lower()
        if name in _BACKENDS:
            return _BACKENDS[name]
    return "cpu"


def installed_backend(libraries: Path | None = None) -> str:
    """The backend of the installed build, from the names of its libraries and without loading any of them."""
    folder = libraries if libraries is not None else _library_folder()
    names = [path.name.lower() for path in folder.glob("*ggml-*")] if folder is not None else []
    found = [backend for word, backend in _BACKENDS.items() if any(f"ggml-{word}" in name for name in names)]
    return found[0] if found else "cpu"


def unused_gpu(devices: Iterable[DeviceView], backend: str) -> str:
    """The name of a GPU that a build for the processor leaves idle; empty where there is none.

    Args:
        devices: What the machine has.
        backend: What the installed build computes on.
    """
    worth_it = (
        device.name
        for device in devices
        if device.kind == "gpu" and (device.memory_total_bytes or 0) >= LEAST_GPU_BYTES
    )
    return next(worth_it, "") if backend == "cpu" else ""


def llama_version() -> str:
    """The version of the installed binding of llama.cpp, without loading it."""
    return importlib.metadata.version("llama-cpp-python")


@functools.cache
def knows_architecture(name: str, libraries: Path | None = None) -> bool:
    """Whether the installed llama.cpp has the name of this architecture in it, without loading it.

    llama.cpp keeps the names in a table of C strings, and has no call that lists them. A name that is there by another
    reason is taken for known, which costs nothing: llama.cpp then refuses the file itself.

    Args:
        name: What a model file calls its architecture.
        libraries: The folder of llama.cpp's libraries; None for the installed ones.
    """
    folder = libraries if libraries is not None else _library_folder()
    files = [path for path in folder.glob("*llama.*") if path.is_file()] if folder is not None else []
    if not files or not name:
        return True
    try:
        with files[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
            return code.find(name.encode() + b"\0") >= 0
    except (OSError, ValueError):  # it can't be looked into: llama.cpp will say
        return True


def physical_cores() -> int:
    """Physical cores that this process may use."""
    usable = usable_cores()
    return min(usable, psutil.cpu_count(logical=False) or usable)


def usable_cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _library_folder() -> Path | None:
    spec = importlib.util.find_spec("llama_cpp")
    return Path(spec.origin).parent / "lib" if spec is not None and spec.origin is not None else None
