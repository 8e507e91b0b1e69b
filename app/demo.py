"""The demo: the same devnet, relay, provider and buyer that separate commands run, started together on free ports."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec

from app.both_sides import BothSides
from app.children import Child, child
from app.config import Config
from app.home import Home
from app.wiring import local_node
from chain.client import RollupClient
from chain.errors import IdlewattError
from chain.signing import parse_address
from node.api import NodeApi
from node.values import WalletState

LEAST_BUYER_BALANCE_NANO = 1_000_000_000
"""Below a dollar of test money the demo's buyer goes to the faucet again."""

WALLET = "main"


@dataclass(frozen=True)
class Demo:
    """A running demo."""

    seller: NodeApi
    buyer: NodeApi
    chain_url: str
    relay_url: str
    devnet: Child
    relay: Child

    @property
    def api(self) -> NodeApi:
        """Both sides as one."""
        return BothSides(self.seller, self.buyer).api

    async def broken(self) -> IdlewattError:
        """Wait until a process of the network ends by itself; the error to show then."""
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(part.ended()) for part in (self.devnet, self.relay)]
            done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
            for watch in watching:
                watch.cancel()
        return done.pop().result()


@asynccontextmanager
async def running_demo(home: Home, config: Config) -> AsyncIterator[Demo]:
    """Start the network and both sides below ``home``; everything ends with the block.

    Raises:
        IdlewattError: If a part does not start; the message says which, and why.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(home.locked("demo"))
        parts = {
            "devnet": ["devnet", "--home", str(home.below("net").root), "--l1-port", "0", "--l2-port", "0"],
            "relay": ["relay", "--home", str(home.below("relay").root), "--port", "0"],
        }
        async with asyncio.TaskGroup() as tasks:
            starting = [
                tasks.create_task(stack.enter_async_context(child(name, arguments, log_path=home.logs / f"{name}.log")))
                for name, arguments in parts.items()
            ]
        devnet, relay = (start.result() for start in starting)
        urls = {"chain": str(devnet.ready["l2"]), "relay": str(relay.ready["relay"])}
        settings = msgspec.structs.replace(config, **urls, model="demo")
        seller, buyer = [
            await stack.enter_async_context(local_node(home.below(name).prepare(), settings, demo=True))
            for name in ("seller", "buyer")
        ]
        yield Demo(seller, buyer, urls["chain"], urls["relay"], devnet, relay)


async def prepare(demo: Demo, home: Home) -> None:
    """Make both sides ready: wallets, test money, and the demo model on offer. Says nothing while it works.

    The passphrase lies beside the keys: the money is test money.
    """
    passphrase = _demo_passphrase(home)

    async def seller() -> None:
        await _open_wallet(demo.seller, passphrase)
        await demo.seller.go_online("demo")

    async def buyer() -> None:
        await _open_wallet(demo.buyer, passphrase)
        address = parse_address(demo.buyer.snapshot().wallets[0].address)
        # Asked of the chain itself: `money` would also look at L1, which a newcomer need not wait for.
        async with RollupClient(demo.chain_url) as chain:
            account = await chain.account(address)
        if account is None or account.balance_nano < LEAST_BUYER_BALANCE_NANO:
            await demo.buyer.faucet(WALLET)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(seller())
        tasks.create_task(buyer())


async def _open_wallet(node: NodeApi, passphrase: str) -> None:
    state = node.snapshot().wallets[0].state
    if state is WalletState.NONE:
        await node.create_wallet(WALLET, passphrase)
    elif state is WalletState.LOCKED:
        await node.unlock(WALLET, passphrase)


def _demo_passphrase(home: Home) -> str:
    path = home.root / "demo-passphrase"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "w") as file:
        passphrase = secrets.token_urlsafe(24)
        file.write(passphrase)
        file.flush()
        os.fsync(file.fileno())
    return passphrase
