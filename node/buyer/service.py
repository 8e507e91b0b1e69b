"""Buying: from a question to a paid answer with a receipt. Another offer is tried until the first token came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.buyer.channels import OutgoingChannels
from node.buyer.connection_pool import ConnectionPool
from node.buyer.failover import Failover
from node.buyer.limits import BuyerLimits
from node.buyer.offer_client import OfferClient, failed
from node.buyer.offer_reader import OfferReader
from node.buyer.settlement import Settlement
from node.buyer.turn import TurnView
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.runtime.clock import NodeClock
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry
from node.runtime.relay_connection import RelayConnection
from node.session import buyer_io as io
from node.store.store import Store
from node.values import ChatEvent, ChatTurn, OfferView

log = get_logger(__name__)

EVENTS_WAITING: Final = 256
CANCEL_TIMEOUT_S: Final = 15.0


class BuyerService:
    """Buys answers.

    Args:
        relay: A connection under a throwaway identity, so that the relay never learns who buys.
        wallet: Pays.
        chain: The rollup.
        store: Channels, receipts, jobs.
        jobs: Where jobs are shown and kept.
        events: Where events go.
        limits: How long others are waited for.
        clock: What offers' times are compared with.
    """

    def __init__(
        self,
        relay: RelayConnection,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        jobs: JobRegistry,
        events: EventBus,
        *,
        limits: BuyerLimits,
        clock: NodeClock,
    ) -> None:
        self._limits = limits
        self._wallet = wallet
        self._chain = chain
        self.offer_reader = OfferReader(relay, chain, limits, clock)
        self.channels = OutgoingChannels(wallet, chain, store, lambda: events.changed("wallet"))
        self.connections = ConnectionPool(relay, limits)
        self.settlement = Settlement(
            self.connections, self.offer_reader, self.channels, wallet, chain, store, events, limits
        )
        self._reconcile_due = asyncio.Event()
        client = OfferClient(chain, store, jobs, events, self.channels, self.connections, self.settlement)
        self._failover = Failover(self.offer_reader, client, wallet, self.reconcile_soon, limits)

    async def market(self) -> tuple[OfferView, ...]:
        """Verified offers, best first.

        Raises:
            IdlewattError: If relay or chain can't be reached.
        """
        return (await self.offer_reader.read(mine=self._wallet.address, fresh=True)).views

    @asynccontextmanager
    async def chat(self, turn: ChatTurn) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        """One turn; see ``NodeApi.chat``."""
        waiting: asyncio.Queue[ChatEvent | None] = asyncio.Queue(EVENTS_WAITING)
        view = TurnView(turn, waiting.put)
        task = asyncio.create_task(self._turn_to_end(view, waiting), name="chat turn")

        async def events() -> AsyncIterator[ChatEvent]:
            while (event := await waiting.get()) is not None:
                yield event

        try:
            yield events()
        finally:
            view.cancel()
            await _wind_up(view, task, waiting)

    async def run(self) -> None:
        """Reconcile channels with the chain, again and again, until cancelled."""
        try:
            while True:
                self._reconcile_due.clear()
                try:
                    if self._chain.reachable:
                        await self.channels.reconcile()
                        await self.settlement.finish_closes()
                except IdlewattError as error:
                    log.warning("channels_not_reconciled", error=error.line())
                try:
                    async with asyncio.timeout(self._limits.reconcile_s):
                        await self._reconcile_due.wait()
                except TimeoutError:
                    continue
        finally:
            await self.settlement.stop()
            await self.connections.close()

    def reconcile_soon(self) -> None:
        """Compare the channels with the chain now: it came back, or the wallet was unlocked."""
        self._reconcile_due.set()

    async def _turn_to_end(self, view: TurnView, waiting: asyncio.Queue[ChatEvent | None]) -> None:
        try:
            await self._failover.run(view)
        except (IdlewattError, TimeoutError) as error:
            await view.fail(failed(error))
        except UnicodeEncodeError:
            text = "The conversation holds half a character, which no model can be sent."
            await view.fail(io.Failed("bad_request", text, "Write the question anew."))
        except Exception:
            log.exception("chat_turn_failed")
            await view.fail(
                io.Failed("internal", "Something went wrong in this node; its log says what.", "Try again.")
            )
        finally:
            await waiting.put(None)


async def _wind_up(view: TurnView, task: asyncio.Task[None], waiting: asyncio.Queue[ChatEvent | None]) -> None:
    """End a turn that has no reader any more: wait a moment for payment and receipt, then cancel it."""
    drain = asyncio.create_task(_drain(waiting))
    try:
        if view.is_asking or task.done():
            await asyncio.wait({task}, timeout=CANCEL_TIMEOUT_S)
    finally:
        # Before a provider was asked nothing is owed. An opening that is interrupted here is found again by its signer.
        drain.cancel()
        task.cancel()
        await asyncio.gather(task, drain, return_exceptions=True)


async def _drain(waiting: asyncio.Queue[ChatEvent | None]) -> None:
    while True:
        await waiting.get()
