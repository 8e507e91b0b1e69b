"""Wheels are kept by everything that decides how a build turns out, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging import ci

options = ci.module("build_options")

ROOT = Path(__file__).parents[2]
LOCK = options.Lock("llama-cpp-python==1 \\\n    --hash=sha256:aa\n", "")
TOOLS = {"c++": "g++ 12.2", "processor": "avx2"}
GPU = {"CMAKE_ARGS": "-DGGML_CUDA=on"}


@pytest.mark.parametrize(
    "other",
    [
        (options.Lock("llama-cpp-python==2 \\\n    --hash=sha256:bb\n", ""), GPU, TOOLS),
        (LOCK, {}, TOOLS),
        (LOCK, GPU | {"CXX": "clang++"}, TOOLS),
        (LOCK, {"CMAKE_ARGS": "-DGGML_CUDA=on -DGGML_LTO=on"}, TOOLS),
        (LOCK, GPU, TOOLS | {"c++": "g++ 13.1"}),
        (LOCK, GPU, TOOLS | {"processor": "avx512"}),
    ],
    ids=["release", "no options", "compiler variable", "more options", "compiler release", "processor"],
)
def test_a_wheel_is_kept_apart_by(other):
    assert options.key(*other) != options.key(LOCK, GPU, TOOLS)


def test_the_other_packages_of_a_lock_do_not_cost_a_build():
    moved = options.Lock(LOCK.llama, "numpy==3 \\\n    --hash=sha256:cc\n")

    assert options.key(moved, GPU, TOOLS) == options.key(LOCK, GPU, TOOLS)


def test_both_locks_of_this_repository_ask_for_the_same_build():
    install, dev = (options.split((ROOT / name).read_text()) for name in ("requirements.lock", "requirements-dev.lock"))

    assert install.llama == dev.llama
    assert "--hash=sha256:" in install.llama
    assert "llama-cpp-python" not in "".join(line for line in dev.others.splitlines() if "# " not in line)
    assert dev.others.count("==") > install.others.count("==") > 50


def test_what_is_set_now_wins_and_what_is_set_to_nothing_is_forgotten():
    remembered = {"CMAKE_ARGS": "-DGGML_CUDA=on", "CC": "gcc-11"}

    assert options.wanted({}, remembered) == remembered
    assert options.wanted({"CC": "gcc-12"}, remembered) == remembered | {"CC": "gcc-12"}
    assert options.wanted({"CMAKE_ARGS": " "}, remembered) == {"CC": "gcc-11"}
    assert options.wanted({"HOME": "/root"}, {}) == {}


@pytest.mark.parametrize(
    ("given", "backends"),
    [
        ("-DGGML_CUDA=on", ["CUDA"]),
        ("-D GGML_CUDA=ON -DGGML_BLAS:BOOL=1", ["CUDA", "BLAS"]),
        ("-DGGML_CUDA=off -DGGML_VULKAN=Yes", ["Vulkan"]),
        ("-DCMAKE_CUDA_FLAGS='-O2 -DGGML_CUDA=on'", []),
        ("-DGGML_CUDA_F16=on", []),
        ("", []),
    ],
)
def test_the_backends_that_a_build_must_have_are_those_it_was_asked_for(given, backends):
    assert options.asked_backends({"CMAKE_ARGS": given}) == backends


def test_our_own_arguments_come_first_so_that_a_persons_win():
    assert options.cmake_args({"CMAKE_ARGS": "-DLLAMA_CURL=ON"}).endswith(" -DLLAMA_CURL=ON")
