"""One face for the demo's two nodes: what rents goes to the seller, what buys goes to the buyer, and both are shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import msgspec

from chain.errors import UsageError
from node.api import NodeApi
from node.values import (
    BenchEvent,
    ChainSnapshot,
    ChannelSummary,
    ChatEvent,
    ChatSession,
    ChatTurn,
    FitView,
    HubModelView,
    LogLine,
    ModelDetail,
    ModelView,
    MoneyView,
    NodeEvent,
    NodeSnapshot,
    OfferView,
    Prices,
    PullEvent,
    SlashView,
    Step,
    WalletView,
)

EVENTS_WAITING = 256
MAIN_WALLET = "main"


@dataclass(frozen=True)
class BothSides:
    """A ``NodeApi`` over two nodes; wallets are called ``seller`` and ``buyer``."""

    seller: NodeApi
    buyer: NodeApi

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
        """Events of both sides."""
        waiting: asyncio.Queue[NodeEvent] = asyncio.Queue(EVENTS_WAITING)

        async def forward(side: NodeApi) -> None:
            async with side.subscribe() as events:
                async for event in events:
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

    def _side(self, wallet_id: str) -> NodeApi:
        match wallet_id:
            case "seller":
                return self.seller
            case "buyer":
                return self.buyer
        raise UsageError("The demo has two wallets: seller and buyer.")

    async def go_online(self, model: str = "", prices: Prices | None = None) -> None:
        """See ``NodeApi``; the seller's."""
        await self.seller.go_online(model, prices)

    async def go_offline(self) -> None:
        """See ``NodeApi``; the seller's."""
        await self.seller.go_offline()

    async def rent_out_regardless(self, minutes: int) -> None:
        """See ``NodeApi``; the seller's."""
        await self.seller.rent_out_regardless(minutes)

    async def models(self) -> tuple[str, ...]:
        """See ``NodeApi``; the seller's."""
        return await self.seller.models()

    async def library(self) -> tuple[ModelView, ...]:
        """See ``NodeApi``; the seller's, as are all calls about models."""
        return await self.seller.library()

    async def model_detail(self, model: str) -> ModelDetail:
        """See ``NodeApi``."""
        return await self.seller.model_detail(model)

    async def model_fit(self, model: str, context_length: int | None = None, slots: int | None = None) -> FitView:
        """See ``NodeApi``."""
        return await self.seller.model_fit(model, context_length, slots)

    async def search_models(self, text: str) -> tuple[HubModelView, ...]:
        """See ``NodeApi``."""
        return await self.seller.search_models(text)

    def pull_model(self, model: str) -> AbstractAsyncContextManager[AsyncIterator[PullEvent]]:
        """See ``NodeApi``."""
        return self.seller.pull_model(model)

    def bench_model(self, model: str) -> AbstractAsyncContextManager[AsyncIterator[BenchEvent]]:
        """See ``NodeApi``."""
        return self.seller.bench_model(model)

    async def remove_model(self, model: str) -> int:
        """See ``NodeApi``."""
        return await self.seller.remove_model(model)

    async def market(self) -> tuple[OfferView, ...]:
        """See ``NodeApi``; as the buyer sees it."""
        return await self.buyer.market()

    def chat(self, turn: ChatTurn) -> AbstractAsyncContextManager[AsyncIterator[ChatEvent]]:
        """See ``NodeApi``; the buyer asks."""
        return self.buyer.chat(turn)

    async def chat_sessions(self) -> tuple[ChatSession, ...]:
        """See ``NodeApi``; the buyer's."""
        return await self.buyer.chat_sessions()

    async def save_chat(self, session: ChatSession) -> None:
        """See ``NodeApi``; the buyer's."""
        await self.buyer.save_chat(session)

    async def delete_chat(self, session_id: str) -> None:
        """See ``NodeApi``; the buyer's."""
        await self.buyer.delete_chat(session_id)

    async def create_wallet(self, wallet_id: str, passphrase: str) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).create_wallet(MAIN_WALLET, passphrase)

    async def import_wallet(
        self,
        wallet_id: str,
        kind: Literal["private_key", "mnemonic", "v3"],
        secret: str,
        passphrase: str,
        file_passphrase: str = "",
    ) -> None:
        """See ``NodeApi``."""
        await self._side(wallet_id).import_wallet(MAIN_WALLET, kind, secret, passphrase, file_passphrase)

    async def unlock(self, wallet_id: str, passphrase: str) -> None:
        """See ``NodeApi``."""
        await self._side(wallet_id).unlock(MAIN_WALLET, passphrase)

    async def export_wallet(self, wallet_id: str, kind: Literal["v3", "private_key"], passphrase: str) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).export_wallet(MAIN_WALLET, kind, passphrase)

    async def confirm_backup(self, wallet_id: str) -> None:
        """See ``NodeApi``."""
        await self._side(wallet_id).confirm_backup(MAIN_WALLET)

    async def money(self, wallet_id: str) -> MoneyView:
        """See ``NodeApi``."""
        return await self._side(wallet_id).money(MAIN_WALLET)

    async def faucet(self, wallet_id: str) -> int:
        """See ``NodeApi``."""
        return await self._side(wallet_id).faucet(MAIN_WALLET)

    async def deposit(self, wallet_id: str, amount_nano: int) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).deposit(MAIN_WALLET, amount_nano)

    async def withdraw(self, wallet_id: str, amount_nano: int | None, to: str = "") -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).withdraw(MAIN_WALLET, amount_nano, to)

    def force_withdraw(
        self, wallet_id: str, amount_nano: int | None, to: str = "", *, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Step]]:
        """See ``NodeApi``."""
        return self._side(wallet_id).force_withdraw(MAIN_WALLET, amount_nano, to, wait=wait, l1_url=l1_url)

    def leave(
        self, wallet_id: str, *, freeze: bool = False, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Step]]:
        """See ``NodeApi``."""
        return self._side(wallet_id).leave(MAIN_WALLET, freeze=freeze, wait=wait, l1_url=l1_url)

    async def stake(self, wallet_id: str, amount_nano: int) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).stake(MAIN_WALLET, amount_nano)

    async def unstake(self, wallet_id: str, amount_nano: int | None) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).unstake(MAIN_WALLET, amount_nano)

    async def finish_unstake(self, wallet_id: str) -> str:
        """See ``NodeApi``."""
        return await self._side(wallet_id).finish_unstake(MAIN_WALLET)

    async def slash(self, wallet_id: str) -> tuple[SlashView, ...]:
        """See ``NodeApi``; the buyer holds receipts."""
        return await self._side(wallet_id).slash(MAIN_WALLET)

    async def channels(self) -> tuple[ChannelSummary, ...]:
        """See ``NodeApi``; a channel between the two appears once from each side."""
        return await self.seller.channels() + await self.buyer.channels()

    async def redeem(self, channel_id: int) -> str:
        """See ``NodeApi``; only the seller has something to redeem."""
        return await self.seller.redeem(channel_id)

    async def close_channel(self, channel_id: int, *, alone: bool = False) -> str:
        """See ``NodeApi``; the buyer closes."""
        return await self.buyer.close_channel(channel_id, alone=alone)

    async def chain(self) -> ChainSnapshot:
        """See ``NodeApi``; both see the same."""
        return await self.buyer.chain()

    async def logs(self, limit: int = 500) -> tuple[LogLine, ...]:
        """See ``NodeApi``; both write to one log."""
        return await self.seller.logs(limit)


def _labelled(wallets: tuple[WalletView, ...], wallet_id: str, label: str) -> tuple[WalletView, ...]:
    return tuple(msgspec.structs.replace(wallet, wallet_id=wallet_id, label=label) for wallet in wallets)
