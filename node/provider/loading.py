"""Loading a model to rent it out, and refusing one that can't be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from chain.logs import get_logger
from node.engine.benchmark import known_speed
from node.engine.protocol import EngineError, EngineInfo
from node.provider.engine_factory import RentableEngine
from node.values.text import plain

log = get_logger(__name__)


class LoadedModel(NamedTuple):
    """A model that can be rented out."""

    info: EngineInfo
    tokens_per_s: float
    ttft_ms: float
    """Milliseconds to the first token."""


async def load(engine: RentableEngine, models: Path) -> LoadedModel:
    """Load an engine's model.

    Args:
        engine: It is left as it is when this fails; closing it is the caller's.
        models: The folder with the measurements of earlier benchmarks.

    Raises:
        EngineError: If the model can't be loaded, or writes no text.
    """
    await engine.start()
    info = await engine.info()
    if not info.chats:
        raise EngineError(
            f"{plain(info.model_name, 60)} is an embedding model: it writes no text that could be rented out.",
            code="model_unusable",
            fix="Choose a chat model.",
        )
    for note in info.notes:
        log.warning("model_limited", model=info.model_name, reason=note)
    measured = await asyncio.to_thread(known_speed, models, info)
    return LoadedModel(info, *(measured or (info.tokens_per_s, info.ttft_ms)))
