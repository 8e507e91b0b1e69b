"""One server and model, as everything that asks it needs to know them."""

from __future__ import annotations

from dataclasses import dataclass

from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.dialect import Dialect
from node.engine.upstream.exclusive import ExclusiveAccess


@dataclass(frozen=True, kw_only=True)
class Server:
    """An identified server."""

    client: UpstreamClient
    access: ExclusiveAccess
    dialect: Dialect
    model: str
    """The model's name there."""
