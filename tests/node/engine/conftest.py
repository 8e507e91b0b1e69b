from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.engine.llama import LlamaEngine
from node.models.catalog import DEMO_PATH
from tests.node.engine.helpers import engine_of
from tests.node.engine.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
def demo_model() -> Path:
    if not DEMO_PATH.is_file():
        pytest.fail("the demo model is missing from node/models/demo")
    return DEMO_PATH


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., LlamaEngine]:
    def make(model: Path, **settings: object) -> LlamaEngine:
        return engine_of(model, tmp_path / "logs" / "engine.log", **settings)

    return make
