"""Which hardware a llama.cpp build computes on, and how many threads a model deserves."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

import psutil

BYTES_PER_THREAD = 32 * 1024 * 1024
"""Weights that keep one thread busy for longer than the threads' waiting for each other costs, layer by layer."""

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


def llama_version() -> str:
    """The version of the installed binding of llama.cpp, without loading it."""
    return importlib.metadata.version("llama-cpp-python")


def default_threads(weights_bytes: int) -> int:
    """One thread a physical core that this process may use, and fewer for a small model.

    On a busy machine threads wait for each other at every layer: a model of a few megabytes is several times faster
    on one thread than on two.
    """
    return max(1, min(physical_cores(), 1 + weights_bytes // BYTES_PER_THREAD))


def physical_cores() -> int:
    """Physical cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)


def _library_folder() -> Path | None:
    spec = importlib.util.find_spec("llama_cpp")
    return Path(spec.origin).parent / "lib" if spec is not None and spec.origin is not None else None
