"""Makes the engine that a node rents out: llama.cpp with a file, or a client of an upstream server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from chain.errors import UsageError
from node.engine.llama import LlamaEngine
from node.engine.protocol import Engine
from node.engine.state import EngineState
from node.engine.tuning import TuningCache
from node.engine.upstream.engine import UpstreamEngine
from node.models.catalog import resolve
from node.models.digest import DigestCache
from node.models.naming import readable
from node.runtime.settings import NodeHome, NodeSettings


class RentableEngine(Engine, Protocol):
    """An engine that is started, and says at any time whether it can serve."""

    @property
    def state(self) -> EngineState:
        """The engine's state, and the reason for it."""
        ...

    async def start(self) -> None:
        """Get ready; returns once requests can be served.

        Raises:
            EngineError: If it can't.
        """
        ...


def make_engine(
    home: NodeHome, settings: NodeSettings, model: str, on_state: Callable[[EngineState], None]
) -> RentableEngine:
    """The engine for this model, not started yet.

    Args:
        home: Where models and logs are.
        settings: The node's settings.
        model: The model's name, or a path, as a person gave it.
        on_state: Called whenever the engine's state changes.

    Raises:
        UsageError: If there is no such model here, or the upstream's address or key can't be used.
    """
    chosen = settings.model_name if model == settings.model else None
    if settings.upstream is not None:
        return UpstreamEngine(
            settings.upstream,
            model,
            name=chosen or "",
            key=_key(settings.upstream_key_env),
            slots=settings.slots,
            context_length=settings.context_length,
            on_state=on_state,
        )
    return LlamaEngine(
        resolve(model, home.models, settings.model_paths),
        settings.engine,
        name=chosen or (None if "/" in model else readable(model).removesuffix(".gguf")),
        log_path=home.logs / "engine.log",
        tuning=TuningCache(home.tuning),
        digest_cache=DigestCache(home.models / ".digests.json"),
        on_state=on_state,
    )


def _key(variable: str | None) -> str:
    """The bearer token. It comes from the environment only, never from an argument or a file."""
    if variable is None:
        return ""
    key = os.environ.get(variable)
    if not key:
        raise UsageError(
            f"The variable {variable} holds no key for the upstream.", code="bad_config", fix=f"Set {variable}."
        )
    return key
