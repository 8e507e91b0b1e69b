from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.engine.llama import LlamaEngine
from tests.node.engine.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., LlamaEngine]:
    def make(model: Path, **settings: object) -> LlamaEngine:
        settings.setdefault("threads", 1)
        return LlamaEngine(model, log_path=tmp_path / "logs" / "engine.log", **settings)  # type: ignore[arg-type]

    return make
