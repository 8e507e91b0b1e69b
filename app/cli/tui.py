"""Opening the terminal app: over the home's own node, over the one already running there, or over the demo."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from app.cli.node_access import any_node, configured
from app.config import Config
from app.home import Home
from app.late import NODE_MODULES, SCREEN_MODULES, LateNode, load
from app.streams import environment_text
from app.variables import PASSPHRASE_VARIABLE
from chain.errors import IdlewattError, UsageError
from node.api import NodeApi
from node.values import WalletState

if TYPE_CHECKING:
    from app.demo import Demo


def open_terminal_app(home_path: str | None, relay: str | None, chain: str | None) -> None:
    """Open the terminal app on a home; with no wallet yet it begins with onboarding."""
    home, config = configured(home_path, relay=relay, chain=chain)
    fresh = not any(home.keystore.glob("*.json"))
    given = environment_text(PASSPHRASE_VARIABLE)  # otherwise the app itself asks, when it needs it

    @asynccontextmanager
    async def node() -> AsyncIterator[NodeApi]:
        await load(*NODE_MODULES)
        async with any_node(home, config) as api:
            wallet = api.snapshot().wallets[0]
            if given is not None and wallet.state is WalletState.LOCKED:
                await api.unlock(wallet.wallet_id, given)
            yield api

    asyncio.run(_show(node, demo=False, onboarding=fresh, why="Starting the node."))


async def show_demo(home: Home, config: Config) -> None:
    """Open the terminal app at once, and bring the demo's network up behind it."""

    @asynccontextmanager
    async def node() -> AsyncIterator[NodeApi]:
        await load("app.demo", *NODE_MODULES)
        from app.demo import prepare, running_demo

        async with running_demo(home, config) as demo, asyncio.TaskGroup() as tasks:
            preparing = tasks.create_task(prepare(demo, home))
            watching = tasks.create_task(_raise_when_broken(demo))
            try:
                yield demo.api
            finally:
                preparing.cancel()
                watching.cancel()

    await _show(
        node, demo=True, onboarding=False, why="Starting a chain, a relay, a node that rents and one that buys."
    )


async def _raise_when_broken(demo: Demo) -> None:
    raise await demo.broken()


def _require_terminal() -> None:
    """Refuse to draw where nobody could see it, or nobody could type.

    Raises:
        UsageError: If a standard stream isn't a terminal, or the terminal can't move its cursor.
    """
    fix = "Use a command such as `idlewatt serve` without one."
    if not sys.stdout.isatty():
        raise UsageError("The terminal app needs a terminal.", fix=fix)
    # Keys come from standard input, and Textual draws on standard error.
    for stream, name in ((sys.stdin, "input"), (sys.stderr, "error")):
        if not stream.isatty():
            raise UsageError(f"The terminal app needs a terminal as its standard {name} too.", fix=fix)
    if os.environ.get("TERM") == "dumb":
        raise UsageError("This terminal can't show an app (TERM is dumb).", fix=fix)


async def _show(
    node: Callable[[], AbstractAsyncContextManager[NodeApi]], *, demo: bool, onboarding: bool, why: str
) -> None:
    """Paint first, then start the node. The app ends when the node fails, and the node when the app ends."""
    _require_terminal()
    from app.tui import IdlewattApp

    late = LateNode(demo=demo, why=why)
    app = IdlewattApp(late.api, title="Idlewatt demo" if demo else "Idlewatt", onboarding=onboarding)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, app.exit)
    failure: list[BaseException] = []

    async def hold_node() -> None:
        await app.painted.wait()  # imports now would delay the first frame
        try:
            async with asyncio.TaskGroup() as beside:
                beside.create_task(load(*SCREEN_MODULES))
                async with node() as api:
                    late.arrived(api)
                    await asyncio.Event().wait()
        except* IdlewattError as errors:
            failure.append(errors)
            app.exit()

    async with asyncio.TaskGroup() as tasks:
        holding = tasks.create_task(hold_node())
        await app.run_async()
        holding.cancel()
    if failure:
        raise failure[0]
    if app.return_code:
        raise IdlewattError("The terminal app ended with an error.", fix="See the log in the home's logs folder.")
