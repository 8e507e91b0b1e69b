"""A real devnet for the whole session, and real nodes, relays and models for each test."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.home import Home
from chain.devnet import Devnet, DevnetConfig, DevnetParams, DevnetReady
from chain.sequencer import SequencerConfig
from node.local.limits import NodeLimits
from node.local.node import LocalNode
from node.relay.server import RelayServer
from node.rollup.timing import L1Timing
from node.runtime.jobs import now_ms
from node.runtime.settings import NodeSettings
from node.values import Prices
from tests.node.engine.tiny import write_tiny
from tests.patience import PATIENCE_S

PASSPHRASE = "correct horse battery staple"
PRICES = Prices(input_nano_per_mtok=1_000_000_000, output_nano_per_mtok=2_000_000_000)
QUICK = L1Timing(first_look_s=0.05, look_s=0.1, retry_s=0.1)
"""Of nodes whose test waits for what they read on L1."""
RunNode = Callable[..., AbstractAsyncContextManager[LocalNode]]


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetReady]:
    """One devnet on a loop and a thread of its own, shared by every test."""
    home = tmp_path_factory.mktemp("devnet")
    ready: list[DevnetReady] = []
    failed: list[BaseException] = []
    is_up, stop_box = threading.Event(), []

    async def run() -> None:
        stop = asyncio.Event()
        stop_box.append((asyncio.get_running_loop(), stop))
        params = DevnetParams.with_window(2)
        quick = SequencerConfig(batch_interval_s=0.3, poll_s=0.2)
        async with Devnet(home, params=params, config=DevnetConfig(sequencer=quick)) as running:
            ready.append(running.ready)
            is_up.set()
            await stop.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            is_up.set()

    thread = threading.Thread(target=main, name="devnet")
    thread.start()
    is_up.wait(PATIENCE_S)
    if failed:
        raise failed[0]
    yield ready[0]
    loop, stop = stop_box[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the devnet didn't stop"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
async def relay() -> AsyncIterator[RelayServer]:
    async with RelayServer() as server:
        yield server


@pytest.fixture
def limits() -> NodeLimits:
    """The limits of a test's nodes; a test that needs others is parametrized with them."""
    return NodeLimits()


@pytest.fixture
def run_node(tmp_path: Path, tiny_model: Path, limits: NodeLimits) -> RunNode:
    """Makes nodes on homes below the test's folder; the same name is the same home.

    ``ahead_ms`` is how far a node's clock is ahead of this machine's.
    """

    @asynccontextmanager
    async def run(name: str, *, limits: NodeLimits = limits, ahead_ms: int = 0, **changes) -> AsyncIterator[LocalNode]:
        home = Home(tmp_path / name).prepare()
        if not (home.models / "tiny.gguf").exists():
            shutil.copy(tiny_model, home.models / "tiny.gguf")
        prices = {
            "price_in_nano": PRICES.input_nano_per_mtok,
            "price_out_nano": PRICES.output_nano_per_mtok,
        }
        settings = NodeSettings(**({"model": "tiny", "slots": 2, "threads": 1} | prices | changes))
        clock = (lambda: now_ms() + ahead_ms) if ahead_ms else now_ms
        async with LocalNode.running(home, settings, scrypt_n=2, limits=limits, now_ms=clock) as node:
            yield node

    return run


@dataclass
class Pair:
    """A seller that is online and a funded buyer."""

    seller: LocalNode
    buyer: LocalNode
    relay: RelayServer


@pytest.fixture
async def pair(run_node: RunNode, relay: RelayServer, devnet: DevnetReady) -> AsyncIterator[Pair]:
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        yield Pair(seller, buyer, relay)
