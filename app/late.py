"""Loads after the terminal app's first frame: the node's code, the other screens, and the node.

A ``LateNode`` is a ``NodeApi`` for a node that is still starting: screens paint at once, and calls wait for it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from node.api import NodeApi
from node.values import NodeChanged, NodeEvent, NodeSnapshot, Phase, RelayView

NODE_MODULES = ("app.wiring", "node.local.node", "app.control.server", "app.control.client", "structlog")
"""The modules of a node: half a second of imports that the first frame doesn't need."""
SCREEN_MODULES = (
    "screens.dialogs",
    "screens.onboarding",
    "screens.chat.screen",
    "screens.wallet.screen",
    "screens.market",
    "screens.jobs",
    "screens.models.screen",
    "screens.chain",
    "screens.logs",
    "app.online",
)
"""Screens and dialogs that a key opens. A key that is pressed before waits for its own screen only."""


async def load(*modules: str) -> None:
    """Import in a thread: on the loop it would delay painting and typing."""
    for module in modules:
        await asyncio.to_thread(importlib.import_module, module)


class LateNode:
    """Stands in for a node until ``arrived`` gives it, then forwards everything."""

    def __init__(self, *, demo: bool, why: str) -> None:
        self._node: asyncio.Future[NodeApi] = asyncio.get_running_loop().create_future()
        self._demo = demo
        self._why = why

    @property
    def api(self) -> NodeApi:
        """This, typed as what it forwards."""
        return cast("NodeApi", self)

    def arrived(self, node: NodeApi) -> None:
        """Forward to ``node`` from now on."""
        self._node.set_result(node)

    def snapshot(self) -> NodeSnapshot:
        """The node's, or one that says what is being started."""
        if self._node.done():
            return self._node.result().snapshot()
        return NodeSnapshot(
            version="",
            demo=self._demo,
            phase=Phase.STARTING,
            why=self._why,
            fix="",
            checklist=(),
            provider=None,
            devices=(),
            active_jobs=(),
            recent_jobs=(),
            tokens_per_s_history=(),
            rejections=(),
            relay=RelayView(url="", state="connecting", rtt_ms=None, reconnects=0),
            chain_url="",
            chain_reachable=False,
            wallets=(),
        )

    @asynccontextmanager
    async def _stream(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> AsyncIterator[Any]:
        node = await asyncio.shield(self._node)
        async with getattr(node, name)(*args, **kwargs) as items:
            yield items

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[NodeEvent]]:
        """The node's events; the first one says that it has arrived."""

        async def events() -> AsyncIterator[NodeEvent]:
            node = await asyncio.shield(self._node)
            async with node.subscribe() as later:
                yield NodeChanged(what="phase")
                async for event in later:
                    yield event

        yield events()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        declared = getattr(NodeApi, name, None)
        if declared is None or name.startswith("_"):
            raise AttributeError(name)

        async def call(*args: object, **kwargs: object) -> Any:
            node = await asyncio.shield(self._node)
            return await getattr(node, name)(*args, **kwargs)

        def stream(*args: object, **kwargs: object) -> Any:
            return self._stream(name, args, kwargs)

        return call if inspect.iscoroutinefunction(declared) else stream
