"""Renting out: loads a model, offers it and serves it, from going online to going offline, with pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.engine.protocol import EngineError, EngineInfo
from node.payments.wallet import NodeWallet
from node.provider.earnings import Earnings
from node.provider.engine_factory import RentableEngine, make_engine
from node.provider.host import ProviderHost
from node.provider.limits import ProviderLimits
from node.provider.loading import load
from node.provider.offer_publisher import OfferPublisher
from node.provider.rejection_log import RejectionLog
from node.provider.rented_model import loaded_view, resting_view
from node.provider.session_manager import ServiceSpeed, ServingTerms, SessionManager
from node.provider.slots import Slots
from node.provider.startup import Startup, Startups
from node.relay.client import RelayClient
from node.rollup.monitor import RollupMonitor
from node.runtime.clock import NodeClock
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry
from node.runtime.relay_connection import RelayConnection
from node.runtime.settings import NodeHome, NodeSettings
from node.session.sealed import generate_transport_key, transport_public_key
from node.store.store import Store
from node.values import Prices, ProviderView

log = get_logger(__name__)


class ProviderService:
    """Rents one model out.

    Args:
        home: Where models and logs are.
        settings: The node's settings.
        wallet: Is paid.
        chain: The rollup.
        store: Vouchers, receipts, totals.
        jobs: Where jobs are shown and kept.
        events: Where events go.
        check_price: Asked with model, prices and tokens per second before an offer goes out; raises when the price must
            not be.
        limits: How long others are waited for, and how many sessions there may be.
        clock: What offers are dated by.
    """

    def __init__(  # noqa: PLR0913 - one parameter a neighbour
        self,
        home: NodeHome,
        settings: NodeSettings,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        jobs: JobRegistry,
        events: EventBus,
        *,
        check_price: Callable[[EngineInfo, Prices, float], Awaitable[None]],
        limits: ProviderLimits,
        clock: NodeClock,
    ) -> None:
        self._limits = limits
        self._home = home
        self._settings = settings
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._events = events
        self.relay = RelayConnection(settings.relay, self._relay_changed)
        self.rejections = RejectionLog(store, lambda: events.changed("jobs"))
        self.earnings = Earnings(wallet, chain, store, events, watch_s=limits.watch_s)
        self.wanted = False
        self.starting = False
        self.stopping = False
        self.engine_error = ""
        self.model = ""
        self.prices = settings.prices
        self.paused = ""
        """Why renting out is paused; set by :meth:`pause`, online or not."""
        self._check_price = check_price
        self._asked_model = ""
        self._resting: ProviderView | None = None
        self._engine: RentableEngine | None = None
        self._host: ProviderHost | None = None
        self._online_task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._startups = Startups()
        self._speed = ServiceSpeed()
        transport_key = generate_transport_key()
        self.offers = OfferPublisher(
            settings,
            wallet,
            chain,
            self._speed,
            transport_key=transport_public_key(transport_key),
            terms=lambda: self._terms() if self._is_open() else None,
            is_online=lambda: self.relay.is_online,
            on_change=lambda: events.changed("phase"),
            clock=clock,
        )
        self.sessions = SessionManager(
            settings,
            jobs,
            self.rejections,
            self.earnings,
            self._speed,
            transport_key=transport_key,
            terms=self._terms,
            on_change=self.offers.look_again,
            limits=limits,
        )

    @property
    def asked_model(self) -> str:
        """The model as a person named it; empty before the first one."""
        return self._asked_model

    # Going on and off

    async def go_online(self, model: str, prices: Prices | None) -> None:
        """Load the model and publish its offer; harmless when that model is online at those prices already.

        Raises:
            IdlewattError: If there is no unlocked wallet, or the model can't be loaded; ``cancelled`` if the node goes
                offline meanwhile.
        """
        with self._startups.asked() as startup:
            await self.earnings.load_totals()
            async with self._changing:
                await self._go_online(model or self._settings.model, prices or self._settings.prices, startup)

    async def _go_online(self, model: str, prices: Prices, startup: Startup) -> None:
        engine = await self._make_engine(model)
        self._wallet.unlocked()
        if self.wanted and model in {self.model, self._asked_model}:
            if self._host is not None:
                await self._check_price(self._host.info, prices, self._speed.tokens_per_s)
            self.prices = prices
            self.offers.look_again()
            self._events.changed("phase")
            return
        if self.wanted:
            await self._stop()
        self.wanted, self.starting, self.model, self.prices = True, True, model, prices
        self._asked_model, self._resting = model, None
        self.engine_error = ""
        self._events.changed("phase")
        try:
            if self.paused:
                await engine.close()
                self._begin_online()
                self.starting = False
            else:
                await startup.run(self._start(engine))
        except BaseException:
            self.wanted = self.starting = False
            await self._end_online()
            self._events.changed("phase")
            raise

    async def go_offline(self) -> None:
        """Withdraw the offer, let running jobs end, redeem, unload the model; harmless when offline.

        A model that still loads is not waited for: its start ends at once.
        """
        self._startups.end()
        async with self._changing:
            if self.wanted:
                await self._stop()

    async def pause(self, reason: str) -> None:
        """Withdraw the offer, let running answers end, unload the model at the last token; :meth:`resume` undoes it.

        Idle sessions are closed at once. What is still unpaid is settled without the model. A node that is offline
        remembers the pause: going online then waits for :meth:`resume`.
        """
        async with self._changing:
            was, self.paused = self.paused, reason
            self._events.changed("phase")
            if was or not self.wanted:
                return
            self._resting = self.view()
            self.offers.look_again()
            await self.sessions.until_no_answers()
            await self._close_engine()
            self._events.changed("phase")

    async def resume(self) -> None:
        """Load the model again and publish its offer; harmless when not paused.

        A model that can't be loaded any more shows as a failure of the engine.
        """
        with self._startups.asked() as startup:
            async with self._changing:
                was, self.paused = self.paused, ""
                if was and self.wanted:
                    await self._resume(startup)
                else:
                    self._events.changed("phase")

    async def _resume(self, startup: Startup) -> None:
        self.starting = True
        self._events.changed("phase")
        try:
            await startup.run(self._load(await self._make_engine(self._asked_model)))
        except IdlewattError as error:
            await self._close_engine()
            if not startup.is_ended:
                self.engine_error = error.line()
                log.warning("model_not_reloaded", model=self._asked_model, error=error.line())
        except Exception as error:
            # Whoever resumes is a service of its own, which must go on: it pauses for people and heat.
            await self._close_engine()
            kind = type(error).__name__
            self.engine_error = f"Something unforeseen went wrong while the model was loaded ({kind})."
            log.exception("model_not_reloaded", model=self._asked_model)
        finally:
            self.starting = False
            self.offers.look_again()
            self._events.changed("phase")

    async def _make_engine(self, model: str) -> RentableEngine:
        return await asyncio.to_thread(make_engine, self._home, self._settings, model, lambda _: self._engine_changed())

    async def _start(self, engine: RentableEngine) -> None:
        await self._load(engine)
        if self._host is not None:
            await self._check_price(self._host.info, self.prices, self._speed.tokens_per_s)
        self._begin_online()
        try:
            async with asyncio.timeout(self._limits.ready_timeout_s):
                await self.offers.first()
        except TimeoutError:
            # The node stays up and says why; it comes online by itself once relay and chain answer.
            log.warning("offer_not_published_yet", relay=self.relay.view().state, chain_error=self._chain.error)
        self.starting = False
        self._events.changed("phase")

    def _begin_online(self) -> None:
        self.offers.begin()
        self._online_task = asyncio.create_task(self.relay.run(self._serve), name="provider")

    async def _load(self, engine: RentableEngine) -> None:
        self._engine = engine
        info, self._speed.tokens_per_s, self._speed.ttft_ms = await load(engine, self._home.models)
        self.model = info.model_name
        self._host = ProviderHost(
            engine,
            info,
            wallet=self._wallet,
            chain=self._chain,
            store=self._store,
            slots=Slots(info.slots, lambda: self._speed.job_ms, per_buyer=self._settings.requests_per_buyer),
            tokens_per_s=lambda: self._speed.tokens_per_s,
            on_claimable=lambda: self._events.changed("wallet"),
        )

    async def _stop(self) -> None:
        self.stopping = True
        self._events.changed("phase")
        try:
            self.offers.look_again()
            await self.sessions.drain()
            await self._redeem_last()
        finally:
            try:
                await self._end_online()
            finally:
                self.wanted = self.starting = self.stopping = False
                self.offers.withdrawn()
                self._events.changed("phase")

    async def _end_online(self) -> None:
        online, self._online_task = self._online_task, None
        if online is not None:
            online.cancel()
            await asyncio.gather(online, return_exceptions=True)
        await self._close_engine()

    async def _redeem_last(self) -> None:
        try:
            async with asyncio.timeout(self._limits.last_redeem_s):
                await self.earnings.redeem_what_is_claimable("going offline")
        except TimeoutError:
            log.warning("last_redeem_timed_out", limit_s=self._limits.last_redeem_s)

    async def _close_engine(self) -> None:
        engine, self._engine, self._host = self._engine, None, None
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if engine is not None:
            await engine.close()

    # Being online

    async def _serve(self, client: RelayClient) -> None:
        """With one relay client: keep the offer listed and take circuits, until the client is closed."""
        publishing = asyncio.create_task(self.offers.publish(client))
        try:
            async for circuit in client.incoming():
                is_leaving = self.stopping or bool(self.paused)
                await self.sessions.take(circuit, is_leaving=is_leaving, free_circuits=client.free_circuits)
        finally:
            self.offers.withdrawn()
            publishing.cancel()
            await asyncio.gather(publishing, self.sessions.end(), return_exceptions=True)
            self._events.changed("phase")

    def _terms(self) -> ServingTerms | None:
        """What a session that begins now is served with; ``None`` without a model."""
        return None if self._host is None else ServingTerms(self._host, self.prices)

    def _is_open(self) -> bool:
        """Whether new requests are taken."""
        is_ready = self._engine is not None and self._engine.state.name == "ready"
        return is_ready and not self.stopping and not self.paused

    # Looking

    @property
    def engine_state(self) -> Literal["none", "loading", "ready", "restarting", "failed"]:
        """The engine's state as the health rules name it."""
        if self._engine is None:
            return "failed" if self.engine_error else "none"
        match self._engine.state.name:
            case "starting":
                return "loading"
            case "closed":
                return "none"
            case name:
                return name

    @property
    def waits_for(self) -> str:
        """What keeps the engine from being loaded, while it is; empty where nothing does."""
        engine = self._engine
        return engine.state.why if engine is not None and engine.state.name == "starting" else ""

    @property
    def free_slots(self) -> int:
        """Slots a request would get at once."""
        return self._host.slots.free if self._host else 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._host.slots.waiting if self._host else 0

    @property
    def slots(self) -> int:
        """All slots."""
        return self._host.info.slots if self._host else self._settings.slots

    def view(self) -> ProviderView | None:
        """What this node rents out; ``None`` before a model is loaded."""
        if self._host is None:
            if self._resting is None or not (self.paused or self.starting):
                return None
            return resting_view(self._resting, self.prices, self.earnings, self.engine_state)
        return loaded_view(self._host, self.prices, self._speed, self.earnings, self.engine_state)

    def _engine_changed(self) -> None:
        engine = self._engine
        if engine is not None and engine.state.name in {"failed", "restarting"}:
            self.engine_error = engine.state.why
            self._events.notice("warning", f"Engine: {engine.state.why}")
        elif engine is not None and engine.state.why:
            self._events.notice("information", f"Engine: {engine.state.why}")
        if engine is not None and engine.state.name == "ready" and self._host is not None:
            self._reading = asyncio.create_task(self._read_again(engine, self._host), name="engine's context")
        self.offers.look_again()
        self._events.changed("phase")

    async def _read_again(self, engine: RentableEngine, host: ProviderHost) -> None:
        """What stands behind an upstream may have another context after an absence, or when one was found out."""
        with contextlib.suppress(EngineError):  # closed meanwhile
            length = (await engine.info()).context_length
            if length != host.info.context_length:
                host.info = msgspec.structs.replace(host.info, context_length=length)
                self.offers.look_again()

    def _relay_changed(self) -> None:
        if not self.relay.is_online:
            self.offers.withdrawn()
        self.offers.look_again()
        self._events.changed("relay")
