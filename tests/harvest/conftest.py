"""Real nodes, relays, devnets, servers and models, as the node's own tests have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.engine.llama import LlamaEngine
from tests.harvest.model_files import MakeEngine
from tests.node.conftest import devnet, limits, pair, relay, run_node, tiny_model
from tests.node.engine.helpers import engine_of
from tests.node.engine.tiny import write_tiny
from tests.node.engine.upstream.conftest import server

__all__ = ["devnet", "limits", "pair", "relay", "run_node", "server", "tiny_model"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model, which a test copies and spoils."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
def make_engine(tmp_path: Path) -> MakeEngine:
    """Makes engines that log below the test's folder."""

    def make(model: Path, **settings: object) -> LlamaEngine:
        return engine_of(model, tmp_path / "logs" / "engine.log", **settings)

    return make
