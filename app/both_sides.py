"""The demo's two nodes as one ``NodeApi``: each call goes to the seller, to the buyer, or to both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from chain.errors import UsageError
from node.api import NodeApi
from node.values import ChannelSummary, LogLine, NodeEvent, NodeSnapshot, WalletView

EVENTS_WAITING = 256
MAIN_WALLET: Final = "main"
"""What each of the two nodes calls its only wallet."""
TO_SELLER: Final = frozenset(
    {
        "bench_model",
        "go_offline",
        "go_online",
        "library",
        "logs",
        "model_detail",
        "model_fit",
        "models",
        "pull_model",
        "redeem",
        "remove_model",
        "rent_out_regardless",
        "search_models",
    }
)
TO_BUYER: Final = frozenset(
    {"chain", "chat", "chat_sessions", "close_channel", "delete_chat", "fees", "market", "save_chat"}
)
BY_WALLET: Final = frozenset(
    name
    for name, method in inspect.getmembers(NodeApi, inspect.isfunction)
    if "wallet_id" in inspect.signature(method).parameters
)
"""Calls that name a wallet: they go to the node that has it."""


@dataclass(frozen=True)
class BothSides:
    """Two nodes as one; their wallets are called ``seller`` and ``buyer``.

    Every method of ``NodeApi`` is either written here, because it shows both sides, or forwarded by one of the three
    tables above. A method in none of them raises ``AttributeError``.
    """

    seller: NodeApi
    buyer: NodeApi

    @property
    def api(self) -> NodeApi:
        """This, typed as what it forwards."""
        return cast("NodeApi", self)

    def snapshot(self) -> NodeSnapshot:
        """The seller's headline and hardware, the buyer's relay and chain, the jobs and wallets of both."""
        renting, buying = self.seller.snapshot(), self.buyer.snapshot()
        return msgspec.structs.replace(
            renting,
            demo=True,
            active_jobs=renting.active_jobs + buying.active_jobs,
            recent_jobs=tuple(
                sorted(renting.recent_jobs + buying.recent_jobs, key=lambda job: job.started_ms, reverse=True)
            ),
            wallets=(
                *_labelled(renting.wallets, "seller", "You, renting out"),
                *_labelled(buying.wallets, "buyer", "You, buying"),
            ),
        )

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[NodeEvent]]:
        """Events of both sides. Both hear the log of the one process: only the seller passes its lines on."""
        waiting: asyncio.Queue[NodeEvent] = asyncio.Queue(EVENTS_WAITING)

        async def forward(side: NodeApi) -> None:
            async with side.subscribe() as events:
                async for event in events:
                    if side is self.seller or not isinstance(event, LogLine):
                        await waiting.put(event)

        async def merged() -> AsyncIterator[NodeEvent]:
            while True:
                yield await waiting.get()

        async with asyncio.TaskGroup() as tasks:
            forwarding = [tasks.create_task(forward(side)) for side in (self.seller, self.buyer)]
            try:
                yield merged()
            finally:
                for task in forwarding:
                    task.cancel()

    async def channels(self) -> tuple[ChannelSummary, ...]:
        """The channels of both sides; a channel between the two appears once from each side."""
        return await self.seller.channels() + await self.buyer.channels()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in TO_SELLER:
            return cast("Callable[..., Any]", getattr(self.seller, name))
        if name in TO_BUYER:
            return cast("Callable[..., Any]", getattr(self.buyer, name))
        if name not in BY_WALLET:
            raise AttributeError(name)

        def call(wallet_id: str, *args: object, **kwargs: object) -> Any:
            return getattr(self._side(wallet_id), name)(MAIN_WALLET, *args, **kwargs)

        return call

    def _side(self, wallet_id: str) -> NodeApi:
        match wallet_id:
            case "seller":
                return self.seller
            case "buyer":
                return self.buyer
        raise UsageError("The demo has two wallets: seller and buyer.")


def _labelled(wallets: tuple[WalletView, ...], wallet_id: str, label: str) -> tuple[WalletView, ...]:
    return tuple(msgspec.structs.replace(wallet, wallet_id=wallet_id, label=label) for wallet in wallets)
