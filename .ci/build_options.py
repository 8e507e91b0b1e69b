"""Which build of llama.cpp is wanted: its options, and the name under which its wheel is kept."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

PACKAGE = "llama-cpp-python"
OURS = (
    "-DLLAVA_BUILD=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
)  # fmt: skip
"""What Idlewatt never calls is left out of llama.cpp."""
VARIABLES = (
    "CMAKE_ARGS", "CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDACXX", "CUDAFLAGS", "CUDAARCHS",
    "CUDAHOSTCXX", "CUDA_PATH", "CUDAToolkit_ROOT", "HIPCXX", "HIPFLAGS", "HIP_PATH", "ROCM_PATH", "VULKAN_SDK",
    "CMAKE_PREFIX_PATH", "CMAKE_TOOLCHAIN_FILE", "CMAKE_GENERATOR", "CMAKE_BUILD_TYPE", "SKBUILD_CMAKE_ARGS",
    "SKBUILD_CMAKE_DEFINE", "SKBUILD_CMAKE_BUILD_TYPE",
)  # fmt: skip
"""Environment variables that change what is built."""
BACKENDS = {
    "GGML_CUDA": "CUDA",
    "GGML_VULKAN": "Vulkan",
    "GGML_HIP": "ROCm",
    "GGML_MUSA": "MUSA",
    "GGML_SYCL": "SYCL",
    "GGML_OPENCL": "OpenCL",
    "GGML_BLAS": "BLAS",
    "GGML_RPC": "RPC",
}
"""The name under which a backend that an option asks for registers itself (``*_reg_get_name`` in ggml)."""
_RENAMED = {
    "CUBLAS": "GGML_CUDA",
    "HIPBLAS": "GGML_HIP",
    "ROCM": "GGML_HIP",
    "CLBLAST": "GGML_OPENCL",
    "OPENBLAS": "GGML_BLAS",
    "VULKAN": "GGML_VULKAN",
}
"""What older releases and other projects call an option, without its prefix."""
_OFF = {"", "0", "off", "no", "false", "n", "ignore", "notfound"}
"""Values that CMake takes for false (cmake-language(7), ``if``)."""
_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>\S+)[^\n]*\\\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock's text in two parts: llama.cpp's binding, which is built by itself, and everything else."""

    llama: str
    others: str


def split(text: str) -> Lock:
    """Take the binding's entry out of a lock; a lock may have none."""
    found = [entry for entry in _ENTRY.finditer(text) if entry["name"].lower().replace("_", "-") == PACKAGE]
    if not found:
        return Lock("", text)
    entry = found[0]
    # Without extras: they decide what is installed beside it, not what is built.
    return Lock(f"{PACKAGE}=={entry['version']} \\\n{entry['hashes']}", text[: entry.start()] + text[entry.end() :])


def wanted(environment: Mapping[str, str], remembered: Mapping[str, str]) -> dict[str, str]:
    """What to build with: each variable as it is set now, else as the last build had it. An empty one is none."""
    chosen = {name: environment.get(name, remembered.get(name, "")).strip() for name in VARIABLES}
    return {name: value for name, value in chosen.items() if value}


def cmake_args(variables: Mapping[str, str]) -> str:
    """All of CMake's arguments; a person's own come last, so they win."""
    return " ".join([*OURS, *filter(None, [variables.get("CMAKE_ARGS", "")])])


def defines(variables: Mapping[str, str]) -> dict[str, str]:
    """The CMake variables that a person sets, by name: ``-DGGML_CUDA=on`` is ``{"GGML_CUDA": "on"}``.

    Raises:
        ValueError: If a quote is not closed.
    """
    found = {}
    words = iter(shlex.split(variables.get("CMAKE_ARGS", "")))
    for word in words:
        if word.startswith("-D"):
            setting = word[2:] or next(words, "")
            name, _, value = setting.partition("=")
            found[name.partition(":")[0]] = value
    return found


def asked_backends(variables: Mapping[str, str]) -> list[str]:
    """The names of ggml's backends that the build must have."""
    return [
        BACKENDS[name]
        for name, value in defines(variables).items()
        if name in BACKENDS and value.strip().lower() not in _OFF
    ]


def key(lock: Lock, variables: Mapping[str, str], tools: Mapping[str, str]) -> str:
    """The name of the folder in which this build's wheel is kept.

    Args:
        lock: What is built.
        variables: What it is built with.
        tools: The compilers, the build tools, the platform and the processor, as they describe themselves.
    """
    build = {"lock": lock.llama, "args": cmake_args(variables), "variables": dict(variables), "tools": dict(tools)}
    return hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()[:24]


def unknown(cache: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Options of a person that llama.cpp doesn't have, and so ignores, each with the one that may be meant.

    Args:
        cache: The text of CMake's cache file, where a variable that nothing declares has no type.
        variables: What is built with.
    """
    untyped = set(re.findall(r"^(\w+):UNINITIALIZED=", cache, re.MULTILINE))
    declared = re.findall(r"^((?:GGML|LLAMA)_\w+):(?:BOOL|STRING)=", cache, re.MULTILINE)
    found = {}
    for name in defines(variables):
        if name in untyped and name.startswith(("GGML_", "LLAMA_", "LLAVA_")):
            likely = _RENAMED.get(name.partition("_")[2], "")
            found[name] = likely or next(iter(difflib.get_close_matches(name, declared, n=1)), "")
    return found
