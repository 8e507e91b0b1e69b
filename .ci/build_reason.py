"""Why llama.cpp was not built, in one line, from the log of the build: what is wrong, and what to install."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARS = 400
_APT = "sudo apt install"


@dataclass(frozen=True, slots=True)
class Cause:
    """A kind of failure: the words that tell it, and what to say about it."""

    pattern: str
    """A regular expression; its groups are filled into ``says`` and ``fix``."""
    says: str
    fix: str


_OLD_VULKAN = Cause(
    r"LayerSettings?\w*EXT[^\n]*(?:is not a member of|has not been declared|does not name)",
    "Vulkan's headers are too old for this llama.cpp, as Debian 12's are (1.3.239; it needs 1.3.272)",
    "Use Debian 13 or LunarG's Vulkan SDK (source setup-env.sh first), or rent out a server that uses the GPU "
    "already: idlewatt serve --upstream",
)
_OLDEST_VULKAN = (1, 3, 272)
"""The first with VK_EXT_layer_settings."""
CAUSES = (
    Cause(
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "Free 3 GiB (10 for CUDA), or name another folder for the work: TMPDIR=/path make install",
    ),
    Cause(
        r"Killed signal terminated program|fatal error: Killed|cc1plus: out of memory|virtual memory exhausted"
        r"|[Cc]annot allocate memory|std::bad_alloc|nvcc error +: '\w+' died due to signal 9|^\s*Killed\s*$",
        "the compiler ran out of memory",
        "Compile one file at a time: CMAKE_BUILD_PARALLEL_LEVEL=1 make install",
    ),
    Cause(
        r"CMake Error[^\n]*\n\s*(LLAMA_\w+) is deprecated, use (GGML_\w+) instead",
        "{0} is an option of an older llama.cpp",
        "Use -D{1}=on",
    ),
    Cause(
        r"unsupported GNU version! gcc versions later than (\d+) are not supported",
        "this CUDA toolkit can't use a gcc newer than {0}",
        f"{_APT} g++-{{0}}, and add -DCMAKE_CUDA_HOST_COMPILER=g++-{{0}} to CMAKE_ARGS",
    ),
    Cause(
        r"unsupported clang version! clang version must be less than (\d+)",
        "this CUDA toolkit needs a clang older than {0}",
        f"{_APT} g++, and add -DCMAKE_CUDA_HOST_COMPILER=g++ to CMAKE_ARGS",
    ),
    Cause(
        r"nvcc fatal\s*: Unsupported gpu architecture '([^']+)'|Unsupported gpu architecture '([^']+)'",
        "this CUDA toolkit doesn't know the GPU architecture {0}",
        "Install a toolkit that fits the GPU from developer.nvidia.com/cuda-downloads",
    ),
    Cause(
        r'CUDA_ARCHITECTURES is set to "native", but no (?:NVIDIA )?GPU was detected'
        r"|Failed to detect a default CUDA architecture",
        "no NVIDIA GPU answers on this machine",
        f"{_APT} nvidia-driver (or where you build for another machine, add -DCMAKE_CUDA_ARCHITECTURES=89 or the like)",
    ),
    Cause(
        r"CUDA::cublas\w*\s+but the target was not found|cannot find -lcublas|cublas_v2\.h: No such file",
        "the CUDA toolkit has no cuBLAS",
        f"{_APT} nvidia-cuda-toolkit (from NVIDIA's own packages: libcublas-dev)",
    ),
    Cause(
        r"CUDA::cuda_driver\s+but the target was not found|cannot find -lcuda\b"
        r"|libcuda\.so\.1[^\n]*(?:not found|cannot)",
        "NVIDIA's driver is not installed",
        f"{_APT} nvidia-driver",
    ),
    Cause(
        r"CUDA Toolkit not found|Could not find nvcc|Failed to find nvcc|No CMAKE_CUDA_COMPILER could be found"
        r"|Could NOT find CUDAToolkit",
        "CMake found no CUDA toolkit (nvcc)",
        f"{_APT} nvidia-cuda-toolkit (in Debian's non-free part; newer ones: developer.nvidia.com/cuda-downloads)",
    ),
    _OLD_VULKAN,
    Cause(
        r"Could NOT find Vulkan \(missing: ([^)]+)\)",
        "CMake did not find Vulkan (missing: {0})",
        f"{_APT} libvulkan-dev glslc spirv-headers",
    ),
    Cause(
        r"provided by \"SPIRV-Headers\"|SPIRV-HeadersConfig\.cmake|spirv/unified1/spirv\.hpp: No such file",
        "CMake did not find SPIR-V's headers",
        f"{_APT} spirv-headers",
    ),
    Cause(r"glslc: (?:not found|No such file)", "glslc is missing", f"{_APT} glslc"),
    Cause(
        r"Failed to find ROCm root directory|Could not find a package configuration file provided by \"?hip\"?"
        r"|hip-config\.cmake|No CMAKE_HIP_COMPILER could be found",
        "CMake found no ROCm",
        "Install ROCm 6.1 or newer from rocm.docs.amd.com, or use -DGGML_VULKAN=on",
    ),
    Cause(
        r"(hipblas|rocblas)-config\.cmake|provided by \"(hipblas|rocblas)\"",
        "ROCm has no {0}",
        "Install hipblas-dev and rocblas-dev from AMD's repository, or use -DGGML_VULKAN=on",
    ),
    Cause(
        r"At least ROCM/HIP V(\S+) is required",
        "ROCm is older than {0}",
        "Install a newer one from rocm.docs.amd.com, or use -DGGML_VULKAN=on",
    ),
    Cause(
        r"Could NOT find OpenCL \(missing: ([^)]+)\)",
        "CMake did not find OpenCL (missing: {0})",
        f"{_APT} ocl-icd-opencl-dev opencl-headers",
    ),
    Cause(r"lacks SYCL support", "the C++ compiler has no SYCL", "Install Intel's oneAPI, or use -DGGML_VULKAN=on"),
    Cause(
        r"BLAS not found|Could NOT find BLAS",
        "CMake found no BLAS",
        f"{_APT} libopenblas-dev pkg-config, and add -DGGML_BLAS_VENDOR=OpenBLAS to CMAKE_ARGS",
    ),
    Cause(r"Could NOT find PkgConfig", "pkg-config is missing", f"{_APT} pkg-config"),
    Cause(
        r"No CMAKE_C(?:XX)?_COMPILER could be found|CMAKE_C(?:XX)?_COMPILER not set"
        r"|is not a full path and was not found in the PATH"
        r"|error: command '(?:gcc|g\+\+|cc|c\+\+)' failed: No such file|cannot execute .?cc1(?:plus)?",
        "there is no C++ compiler",
        f"{_APT} build-essential",
    ),
    Cause(r"Python\.h: No such file", "Python's headers are missing", f"{_APT} python3-dev"),
    Cause(
        r"The C(?:XX)? compiler\s+\"?([^\s\"]+)\"?\s+is not able to compile a simple test program",
        "the compiler {0} can't compile anything",
        f"{_APT} build-essential (or unset CC, CXX, CFLAGS)",
    ),
    Cause(
        r"CMake \d\S* or higher is required|Could not find CMake with version"
        r"|CMake was unable to find a build program|Could NOT find Ninja|No such file or directory: '(?:cmake|ninja)'",
        "CMake or Ninja is missing or too old",
        f"{_APT} cmake ninja-build make",
    ),
    Cause(r"No module named pip", "the environment has no pip", f"{_APT} python3-venv, then make clean install"),
    Cause(
        r"THESE PACKAGES DO NOT MATCH THE HASHES",
        "what was downloaded is not what the lock says",
        "Try again; if it stays so, a proxy or an index in pip's settings changes packages: pip config list",
    ),
    Cause(
        r"Failed to establish a new connection|Temporary failure in name resolution|Network is unreachable"
        r"|ConnectTimeoutError|ReadTimeoutError|Connection (?:broken|reset)|ProxyError|SSLError",
        "the package index could not be reached",
        "Check the network and pip's proxy (HTTPS_PROXY), then try again",
    ),
    Cause(
        r"No matching distribution found for (\S+)",
        "the package index has no {0} that fits",
        "Check the network and pip's settings: pip config list",
    ),
)
"""The kinds that are known; the first that matches is told, so what causes others comes before them."""

_NOISE = re.compile(
    r"subprocess-exited-with-error|Failed building wheel|Failed to build|Could not build wheels"
    r"|metadata-generation-failed|CMake (?:configuration|build) failed|did not run successfully|subcommand failed"
    r"|^note:|^hint:"
)
_CMAKE_ERROR = re.compile(r"^\s*CMake Error[^\n]*:\n((?:[ \t]+\S[^\n]*\n|\n(?=[ \t]+\S))+)", re.MULTILINE)


def reason(log: str) -> tuple[str, str]:
    """What went wrong and what to do about it, each one short line without a full stop; the second may be empty."""
    for cause in CAUSES:
        found = re.search(cause.pattern, log, re.MULTILINE)
        if found:
            words = [group for group in found.groups() if group is not None]
            return _fill(cause.says, words), _fill(cause.fix, words)
    return _own_words(log), ""


def early(line: str) -> tuple[str, str] | None:
    """What will go wrong minutes later, by a line of CMake's; the form is that of `reason`."""
    found = re.search(r"Found Vulkan: .*\(found version \"(\d+)\.(\d+)\.(\d+)\"\)", line)
    if found and tuple(map(int, found.groups())) < _OLDEST_VULKAN:
        return _OLD_VULKAN.says, _OLD_VULKAN.fix
    return None


def _fill(text: str, words: list[str]) -> str:
    return " ".join(text.format(*words, *([""] * 3)).split())


def _own_words(log: str) -> str:
    """The first thing that CMake, a compiler or pip itself calls an error."""
    error = re.search(
        r"^\s*CMake Error(?: at ([^\n]*?) \(\w+\))?[^\n]*:\n((?:[ \t]+\S[^\n]*\n|\n(?=[ \t]+\S))+)", log, re.MULTILINE
    )
    if error:
        return _short("CMake says: " + error[2])
    lines = [line.strip() for line in log.splitlines() if not _NOISE.search(line)]
    for mark in (r"\b(?:fatal )?error: ", r"undefined reference|ld returned", r"^\w*(?:Error|Exception): ", r"^ERROR"):
        for line in lines:
            if re.search(mark, line):
                return _short(line)
    return _short(next((line for line in reversed(lines) if line), "pip said nothing"))


def _short(text: str) -> str:
    words = " ".join(text.split()).rstrip(".")
    return words if len(words) <= MAX_CHARS else words[: MAX_CHARS - 1] + "…"
