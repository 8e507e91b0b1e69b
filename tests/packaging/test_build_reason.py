"""The log of a failed build becomes one line that says why, and what to install."""

from __future__ import annotations

import pytest

from tests.packaging import ci

build_reason = ci.module("build_reason")

VULKAN = """\
  CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):
    Could NOT find Vulkan (missing: Vulkan_LIBRARY Vulkan_INCLUDE_DIR glslc)
    (found version "")
  Call Stack (most recent call first):
    vendor/llama.cpp/ggml/src/ggml-vulkan/CMakeLists.txt:9 (find_package)
"""
VULKAN_HEADERS = """\
[120/180] Building CXX object vendor/llama.cpp/ggml/src/ggml-vulkan/CMakeFiles/ggml-vulkan.dir/ggml-vulkan.cpp.o
ggml-vulkan.cpp:5214:21: error: \u2018LayerSettingEXT\u2019 is not a member of \u2018vk\u2019
 5214 |     std::vector<vk::LayerSettingEXT> settings = {
"""
CUBLAS = """\
CMake Error at vendor/llama.cpp/ggml/src/ggml-cuda/CMakeLists.txt:178 (target_link_libraries):
  Target "ggml-cuda" links to:

    CUDA::cublas

  but the target was not found.  Possible reasons include:
"""
NO_GPU = """\
CMake Error in vendor/llama.cpp/ggml/src/ggml-cuda/CMakeLists.txt:
  CUDA_ARCHITECTURES is set to "native", but no GPU was detected.
"""
NO_COMPILER = """\
CMake Error at CMakeLists.txt:3 (project):
  No CMAKE_C_COMPILER could be found.

  Tell CMake where to find the compiler by setting either the environment
  variable "CC" or the CMake cache entry CMAKE_C_COMPILER to the full path to
"""
OLD_OPTION = """\
CMake Error at vendor/llama.cpp/CMakeLists.txt:178 (message):
  LLAMA_CUBLAS is deprecated, use GGML_CUDA instead
"""
NO_ROCM = """\
CMake Error at /usr/share/cmake-3.25/Modules/CMakeDetermineHIPCompiler.cmake:103 (message):
  Failed to find ROCm root directory.
"""
NO_HIPBLAS = """\
CMake Error at vendor/llama.cpp/ggml/src/ggml-hip/CMakeLists.txt:47 (find_package):
  By not providing "Findhipblas.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "hipblas", but
  CMake did not find one.
"""
NO_SPIRV = NO_HIPBLAS.replace("hipblas", "SPIRV-Headers")
OLD_ROCM = "CMake Error at ggml-hip/CMakeLists.txt:55 (message):\n  At least ROCM/HIP V6.1 is required\n"
NO_CUDA = "CMake Error at vendor/llama.cpp/ggml/src/ggml-cuda/CMakeLists.txt:270 (message):\n  CUDA Toolkit not found\n"
NEW_GCC = """\
crt/host_config.h:132:2: error: #error -- unsupported GNU version! gcc versions later than 11 are not supported!
"""
NEW_GPU = "nvcc fatal   : Unsupported gpu architecture 'compute_120a'\n"
NO_BLAS = (
    "CMake Error at ggml-blas/CMakeLists.txt:98 (message):\n  BLAS not found, please refer to\n  https://cmake.org/\n"
)
KILLED = """\
c++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
ninja: build stopped: subcommand failed.
"""
DISK = "fatal error: error writing to /tmp/ccD2xY.s: No space left on device\n"
NETWORK = """\
  WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'
  ERROR: No matching distribution found for scikit-build-core
"""  # noqa: E501 - as pip writes it
PYTHON_H = "src/hash.c:1:10: fatal error: Python.h: No such file or directory\n"
PIP = """\
error: subprocess-exited-with-error
ERROR: Failed building wheel for llama-cpp-python
"""


@pytest.mark.parametrize(
    ("log", "says", "fix"),
    [
        (VULKAN, "missing: Vulkan_LIBRARY Vulkan_INCLUDE_DIR glslc", "apt install libvulkan-dev glslc spirv-headers"),
        (VULKAN_HEADERS, "too old for this llama.cpp, as Debian 12's", "Debian 13 or LunarG's Vulkan SDK"),
        (NO_SPIRV, "SPIR-V's headers", "apt install spirv-headers"),
        (NO_CUDA, "no CUDA toolkit (nvcc)", "apt install nvidia-cuda-toolkit"),
        (CUBLAS, "no cuBLAS", "libcublas-dev"),
        (NO_GPU, "no NVIDIA GPU answers", "apt install nvidia-driver"),
        (NO_GPU + CUBLAS, "no NVIDIA GPU answers", "apt install nvidia-driver"),
        (NEW_GCC, "can't use a gcc newer than 11", "apt install g++-11, and add -DCMAKE_CUDA_HOST_COMPILER=g++-11"),
        (NEW_GPU, "doesn't know the GPU architecture compute_120a", "developer.nvidia.com/cuda-downloads"),
        (NO_ROCM, "no ROCm", "-DGGML_VULKAN=on"),
        (NO_HIPBLAS, "ROCm has no hipblas", "hipblas-dev"),
        (OLD_ROCM, "ROCm is older than 6.1", "rocm.docs.amd.com"),
        (NO_BLAS, "no BLAS", "apt install libopenblas-dev"),
        (NO_COMPILER, "no C++ compiler", "apt install build-essential"),
        (OLD_OPTION, "LLAMA_CUBLAS is an option of an older llama.cpp", "Use -DGGML_CUDA=on"),
        (KILLED, "ran out of memory", "CMAKE_BUILD_PARALLEL_LEVEL=1"),
        (DISK, "the disk is full", "TMPDIR="),
        (NETWORK, "package index could not be reached", "HTTPS_PROXY"),
        (PYTHON_H, "Python's headers are missing", "apt install python3-dev"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_packages(log, says, fix):
    said, to_do = build_reason.reason("-- The C compiler identification is GNU 12.2.0\n" + log + PIP)

    assert says in said
    assert fix in to_do
    assert "\n" not in said + to_do


def test_any_other_error_of_cmake_is_told_in_its_own_words():
    log = "CMake Error at vendor/CMakeLists.txt:7 (message):\n  The moon is not full.\n\nSee also nothing.\n" + PIP

    assert build_reason.reason(log) == ("CMake says: The moon is not full", "")


def test_the_first_error_of_a_compiler_is_told_and_not_what_pip_says_of_it():
    log = "a.cpp:1:2: error: 'x' was not declared\nb.cpp:3:4: error: expected ';'\n" + PIP

    assert build_reason.reason(log) == ("a.cpp:1:2: error: 'x' was not declared", "")


def test_a_deprecation_that_is_a_warning_is_not_the_reason():
    log = (
        "CMake Warning at CMakeLists.txt:178 (message):\n  LLAMA_CUDA is deprecated, use GGML_CUDA instead\n" + NO_CUDA
    )

    assert "no CUDA toolkit" in build_reason.reason(log)[0]


@pytest.mark.parametrize(("version", "is_too_old"), [("1.3.239", True), ("1.3.272", False), ("1.4.309", False)])
def test_headers_of_vulkan_that_are_too_old_are_told_before_minutes_of_compiling(version, is_too_old):
    line = f'-- Found Vulkan: /usr/lib/libvulkan.so (found version "{version}") found components: glslc'

    assert build_reason.early(line) == (build_reason.reason(VULKAN_HEADERS) if is_too_old else None)
