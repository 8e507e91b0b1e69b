"""From a home and its settings to a running node: the one place that knows both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from app.config import Config
from app.home import Home
from node.api import NodeApi
from node.runtime.settings import NodeSettings
from node.values import Prices

DEMO_SCRYPT_N = 2**14
"""The demo's wallets hold test money under a random passphrase: the usual work factor would only cost time."""


def settings_of(home: Home, config: Config, *, demo: bool = False) -> NodeSettings:
    """What a node on this home is told."""
    return NodeSettings(
        keystore_dir=home.keystore,
        database_path=home.database,
        models_dir=home.models,
        model_folders=tuple(Path(folder).expanduser() for folder in config.model_folders or ()),
        logs_dir=home.logs,
        relay_url=config.relay,
        chain_url=config.chain,
        upstream_url=config.upstream,
        requests_per_buyer=config.requests_per_buyer,
        upstream_key_env=config.upstream_key_env,
        model=config.model,
        prices=Prices(input_nano_per_mtok=config.price_in_nano, output_nano_per_mtok=config.price_out_nano),
        engine=config.engine_options(),
        tuning_path=home.tuning,
        watch=config.watch,
        energy=config.energy,
        availability=config.availability,
        allow_below_cost=config.allow_below_cost,
        version=version("idlewatt"),
        demo=demo,
        scrypt_n=DEMO_SCRYPT_N if demo else None,
    )


@asynccontextmanager
async def local_node(home: Home, config: Config, *, demo: bool = False) -> AsyncIterator[NodeApi]:
    """Run a node in this process until the block ends; whoever calls holds the home's lock."""
    from node.local.node import LocalNode

    async with LocalNode.running(settings_of(home, config, demo=demo)) as node:
        yield node
