"""Models that can't be loaded, and what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from node.engine.llama import LlamaEngine
from node.engine.protocol import EngineError
from tests.patience import PATIENCE_S

MakeEngine = Callable[..., LlamaEngine]


async def refused(engine: LlamaEngine) -> EngineError:
    """Why an engine doesn't start."""
    with pytest.raises(EngineError) as error:
        async with asyncio.timeout(PATIENCE_S):
            await engine.start()
    assert engine.state.name == "failed"
    assert error.value.line().isprintable()
    return error.value
