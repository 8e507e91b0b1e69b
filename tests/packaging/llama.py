"""A small source release of llama.cpp's binding: configured by the real CMake, and running the real library.

Its backend calls CMake with ``CMAKE_ARGS``, as scikit-build-core does for the real one, and compiles nothing. The wheel
holds the real binding, pointed at the libraries that are installed here, so it loads models and produces tokens.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = "llama-cpp-python"
VERSION = version(PACKAGE)
STEM = f"llama_cpp_python-{VERSION}"
OPTIONS = "llama_cpp/options.txt"
"""The file in the wheel that says what it was built with."""
CMAKE = """
cmake_minimum_required(VERSION 3.21)
project(llama_cpp LANGUAGES NONE)
option(GGML_CUDA "use CUDA" OFF)
option(GGML_VULKAN "use Vulkan" OFF)
option(GGML_OPENCL "use OpenCL, or so it says" OFF)
option(GGML_RPC "use RPC" OFF)
option(GGML_LTO "optimize while linking" OFF)
option(GGML_TRUNCATED "break the library" OFF)
option(LLAMA_CURL "use curl" OFF)
# Nothing is found, whatever this machine has.
foreach(path CMAKE_ENVIRONMENT SYSTEM_ENVIRONMENT CMAKE CMAKE_SYSTEM)
    set(CMAKE_FIND_USE_${path}_PATH FALSE)
endforeach()
if(GGML_VULKAN)
    find_package(Vulkan COMPONENTS glslc REQUIRED)
endif()
if(GGML_CUDA AND NOT DEFINED ENV{CUDA_IS_HERE})
    message(FATAL_ERROR "CUDA Toolkit not found")
endif()
if(GGML_TRUNCATED)
    file(WRITE ${CMAKE_BINARY_DIR}/truncated "yes")
endif()
"""
BACKEND = f"""
import os, pathlib, shutil, subprocess, sys, tempfile, zipfile

def build_wheel(folder, settings=None, metadata=None):
    options = os.environ.get("CMAKE_ARGS", "")
    if "BUILDS" in os.environ:
        with open(os.environ["BUILDS"], "a") as log:
            log.write(options + "\\n")
    build = os.environ.get("SKBUILD_BUILD_DIR") or tempfile.mkdtemp()
    if subprocess.run(["cmake", "-S", ".", "-B", build, *options.split()]).returncode:
        sys.exit("CMake configuration failed")
    with zipfile.ZipFile(pathlib.Path(folder, "{STEM}-py3-none-any.whl"), "w") as wheel:
        for path in pathlib.Path("files").rglob("*"):
            if path.is_file():
                wheel.writestr(str(path.relative_to("files")), path.read_text())
        wheel.writestr("{OPTIONS}", options)
        if pathlib.Path(build, "truncated").exists():
            wheel.writestr("llama_cpp/_ctypes_extensions.py", pathlib.Path("truncated.py").read_text())
    return "{STEM}-py3-none-any.whl"

def prepare_metadata_for_build_wheel(folder, settings=None):
    shutil.copytree("files/{STEM}.dist-info", pathlib.Path(folder, "{STEM}.dist-info"))
    return "{STEM}.dist-info"
"""
PYPROJECT = f"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{PACKAGE}"
version = "{VERSION}"
"""


def installed() -> Path:
    """The folder of the installed package, whose code is not run."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def files(libraries: Path | None = None) -> dict[str, str]:
    """The low-level binding by path in the wheel, which loads its libraries from this folder."""
    folder = installed()
    line = f'\nos.environ["LLAMA_CPP_LIB_PATH"] = {str(libraries or folder / "lib")!r}\n'
    return {
        "llama_cpp/__init__.py": "",
        "llama_cpp/llama_cpp.py": (folder / "llama_cpp.py").read_text(),
        "llama_cpp/_ctypes_extensions.py": (folder / "_ctypes_extensions.py").read_text() + line,
    }


def metadata() -> dict[str, str]:
    """The files of the wheel's ``dist-info``, with nothing asked for."""
    info = f"{STEM}.dist-info"
    return {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: idlewatt\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }


def offer(simple: Path, truncated: Path) -> str:
    """Write the source release into an index, and return its SHA-256.

    Args:
        simple: The index.
        truncated: A folder that is filled with a library of which a half is missing.
    """
    truncated.mkdir()
    for library in (installed() / "lib").glob("libllama.so*"):
        (truncated / library.name).write_bytes(library.read_bytes()[: library.stat().st_size // 2])
    contents = {
        "PKG-INFO": metadata()[f"{STEM}.dist-info/METADATA"],
        "pyproject.toml": PYPROJECT,
        "backend.py": BACKEND,
        "CMakeLists.txt": CMAKE,
        "truncated.py": files(truncated)["llama_cpp/_ctypes_extensions.py"],
        **{f"files/{path}": text for path, text in (files() | metadata()).items()},
    }
    page = simple / PACKAGE
    page.mkdir(parents=True)
    path = page / f"{STEM}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            entry = tarfile.TarInfo(f"{STEM}/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    (page / "index.html").write_text(f'<a href="{path.name}">{path.name}</a>\n')
    return hashlib.sha256(path.read_bytes()).hexdigest()
