from __future__ import annotations

from pathlib import Path

import pytest

from node.hardware.backend import backend_of, installed_backend


@pytest.mark.parametrize(
    ("line", "backend"),
    [
        ("CPU : SSE3 = 1 | AVX = 1 | ", "cpu"),
        ("CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | ", "cuda"),
        ("Metal : EMBED_LIBRARY = 1 | CPU : NEON = 1 | ", "metal"),
        ("", "cpu"),
    ],
)
def test_the_backend_is_read_from_llama_cpps_own_words(line: str, backend: str):
    assert backend_of(line) == backend


def test_a_build_is_known_by_its_libraries(tmp_path: Path):
    assert installed_backend(tmp_path) == "cpu"
    (tmp_path / "libggml-base.so").touch()
    assert installed_backend(tmp_path) == "cpu"
    (tmp_path / "libggml-vulkan.so").touch()
    assert installed_backend(tmp_path) == "vulkan"


def test_the_installed_build_has_a_backend():
    assert installed_backend()
