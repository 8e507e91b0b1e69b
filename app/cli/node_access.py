"""How commands reach a node: the one running on the home, or one of their own for as long as the command takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.cli.common import note, passphrase, prepared_home
from app.config import Config, remember
from app.home import Home, HomeBusyError
from app.logs import log_to
from chain.errors import IdlewattError
from node.api import NodeApi
from node.values import Health, WalletState, WalletView

ATTACH_ATTEMPTS = 20
ATTACH_INTERVAL_S = 0.25


def configured(home_path: str | None, **options: Any) -> tuple[Home, Config]:
    """The home and its settings; a relay, a chain or an L1 of one's own given now is remembered for next time."""
    home = prepared_home(home_path)
    config = Config.load(home.config_path, **options)
    remember(home.config_path, relay=config.relay if options.get("relay") else None)
    remember(home.config_path, chain=config.chain if options.get("chain") else None)
    remember(home.config_path, own_l1=config.own_l1 if options.get("own_l1") else None)
    return home, config


@asynccontextmanager
async def own_node(home: Home, config: Config) -> AsyncIterator[NodeApi]:
    """Run the one node of this home until the block ends, answering other commands meanwhile.

    Raises:
        HomeBusyError: If a node runs on this home already.
    """
    from app.control.server import serve_control
    from app.wiring import local_node

    with home.locked():
        log_to(home.logs, "node", config.log_level)
        async with local_node(home, config) as node, serve_control(node, home.control_socket):
            yield node


@asynccontextmanager
async def any_node(home: Home, config: Config) -> AsyncIterator[NodeApi]:
    """The node running on this home, else one of our own."""
    from app.control.client import attach
    from app.control.protocol import ControlError

    for attempt in range(ATTACH_ATTEMPTS):
        if home.is_locked():
            try:
                node = await attach(home.control_socket)
            except ControlError:
                # It holds the lock and does not answer: it is starting or stopping.
                if attempt == ATTACH_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(ATTACH_INTERVAL_S)
                continue
            yield node
            return
        try:
            async with own_node(home, config) as node:
                yield node
                return
        except HomeBusyError:
            continue
    raise HomeBusyError(f"The node on {home.root} keeps starting and stopping.", fix="See its log.")


def wallet_of(node: NodeApi) -> WalletView:
    """The wallet that commands mean: the node's only one.

    Raises:
        IdlewattError: If there is none yet.
    """
    wallet = node.snapshot().wallets[0]
    if wallet.state is WalletState.NONE:
        raise IdlewattError(
            "This home has no wallet yet.",
            code="no_wallet",
            fix="Create one with `idlewatt wallet new`, or import one.",
        )
    return wallet


def tell_clock(node: NodeApi) -> None:
    """Say on stderr where this machine's clock and the relay's differ."""
    clock = node.snapshot().clock
    if clock is not None and clock.health is not Health.OK:
        note(f"· {clock.line} {clock.fix}".rstrip())


async def unlocked_wallet(node: NodeApi, config: Config) -> WalletView:
    """The node's wallet, unlocked: with the passphrase where it isn't yet.

    Raises:
        IdlewattError: If there is no wallet, or the passphrase is wrong.
    """
    wallet = wallet_of(node)
    if wallet.state is WalletState.LOCKED:
        await node.unlock(wallet.wallet_id, passphrase(use_keyring=config.keyring, account=wallet.address))
    return wallet
