"""From a home and its settings to a running node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.home import Home
from node.api import NodeApi
from node.local.node import LocalNode
from node.runtime.settings import NodeSettings

DEMO_SCRYPT_N = 2**14
"""The demo's wallets hold test money under a random passphrase: the usual work factor would only cost time."""


@asynccontextmanager
async def local_node(home: Home, settings: NodeSettings, *, demo: bool = False) -> AsyncIterator[NodeApi]:
    """Run a node in this process until the block ends; the caller holds the home's lock."""
    async with LocalNode.running(home, settings, demo=demo, scrypt_n=DEMO_SCRYPT_N if demo else None) as node:
        yield node
