"""Renting out: from a loaded model to signed offers, paid sessions and redeemed vouchers, and back to rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from chain.errors import IdlewattError
from node.engine.protocol import EngineError, EngineInfo
from node.market.offers import VALIDITY_MS, Offer, encode_offer, sign_offer
from node.models.bench import known_speed
from node.relay.circuit import Circuit
from node.relay.client import RelayClient
from node.services.chain_desk import ChainDesk
from node.services.earnings import Earnings
from node.services.engines import RentableEngine, make_engine
from node.services.events import EventHub
from node.services.jobs import JobBook, ended, now_ms
from node.services.miss_book import MissBook
from node.services.misses import REASONS
from node.services.provider_host import ProviderHost
from node.services.provider_jobs import JobTracker
from node.services.provider_session import ProviderSession
from node.services.purse import Purse
from node.services.relay_desk import RelayDesk
from node.services.settings import NodeSettings
from node.services.slots import Slots
from node.session import provider as machine
from node.session.link import SealedLink
from node.session.sealed import generate_transport_key, transport_public_key
from node.store.store import Store
from node.values import Prices, ProviderView
from node.wire.text import plain

log = logging.getLogger(__name__)

MAX_SESSIONS: Final = 64
HANDSHAKE_TIMEOUT_S: Final = 15.0
REFRESH_S: Final = 60.0
LEAST_REFRESH_S: Final = 0.5
"""Free slots change with every job; the offer follows, but no faster than this."""
READY_TIMEOUT_S: Final = 10.0
DRAIN_S: Final = 15.0
"""How long answers under way may take to end when the node goes offline."""
LAST_VOUCHER_S: Final = 5.0
"""How long the sessions that took longer have to pay for what they got."""
LAST_REDEEM_S: Final = 10.0
"""How long a chain may take then; what it doesn't answer for stays claimable."""
GOING_OFFLINE: Final = ("provider_stopping", "The provider is going offline.")
PAUSING: Final = ("provider_stopping", "The provider needs its machine for something else.")
SPEED_WEIGHT: Final = 0.3
MEASURED_TOKENS: Final = 16


class ProviderService:
    """Rents one model out.

    Args:
        settings: The node's settings.
        purse: Who is paid.
        chain: The rollup.
        store: Vouchers, receipts, totals.
        jobs: Where jobs are shown and kept.
        hub: Where events go.
    """

    def __init__(
        self, settings: NodeSettings, purse: Purse, chain: ChainDesk, store: Store, jobs: JobBook, hub: EventHub
    ) -> None:
        self._settings = settings
        self._purse = purse
        self._chain = chain
        self._store = store
        self._jobs = jobs
        self._hub = hub
        self.relay = RelayDesk(settings.relay_url, self._relay_changed)
        self.misses = MissBook(store, lambda: hub.changed("jobs"))
        self.earnings = Earnings(purse, chain, store, hub)
        self.wanted = False
        self.starting = False
        self.stopping = False
        self.published = False
        self.account_exists = False
        self._stake_nano = 0
        self.engine_error = ""
        self.model = ""
        self.prices = settings.prices
        self.paused = ""
        """Why the machine is somebody else's for now; set by :meth:`pause`, online or not."""
        self.check_price: Callable[[EngineInfo, Prices], Awaitable[None]] | None = None
        """Asked before an offer goes out; raises when the price must not be."""
        self._asked_model = ""
        self._resting: ProviderView | None = None
        self._stepped = asyncio.Event()
        self._engine: RentableEngine | None = None
        self._host: ProviderHost | None = None
        self._transport_key = generate_transport_key()
        self._sessions: set[ProviderSession] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._session_tasks: set[asyncio.Task[None]] = set()
        self._online_task: asyncio.Task[None] | None = None
        self._offer_due = asyncio.Event()
        self._first_offer = asyncio.Event()
        self._idle = asyncio.Event()
        self._changing = asyncio.Lock()
        self._tokens_per_s = 0.0
        self._ttft_ms = 0.0
        self._job_ms = 5_000.0

    @property
    def asked_model(self) -> str:
        """What is rented out, as it was named; empty before the first time."""
        return self._asked_model

    # Going on and off

    async def go_online(self, model: str, prices: Prices | None) -> None:
        """Load the model and publish its offer; harmless when that model is online at those prices already.

        Raises:
            IdlewattError: If there is no unlocked wallet, or the model can't be loaded.
        """
        async with self._changing:
            model, prices = model or self._settings.model, prices or self._settings.prices
            engine = await asyncio.to_thread(make_engine, self._settings, model, lambda _: self._engine_changed())
            self._purse.unlocked()
            if self.wanted and model in {self.model, self._asked_model}:
                if self.check_price is not None and self._host is not None:
                    await self.check_price(self._host.info, prices)
                self.prices = prices
                self._offer_due.set()
                self._hub.changed("phase")
                return
            if self.wanted:
                await self._stop()
            self.wanted, self.starting, self.model, self.prices = True, True, model, prices
            self._asked_model, self._resting = model, None
            self.engine_error = ""
            self._hub.changed("phase")
            try:
                if self.paused:
                    await engine.close()
                    self._begin_online()
                    self.starting = False
                else:
                    await self._start(engine)
            except BaseException:
                self.wanted = self.starting = False
                await self._close_engine()
                self._hub.changed("phase")
                raise

    async def go_offline(self) -> None:
        """Withdraw the offer, let running jobs end, redeem, unload the model; harmless when offline."""
        async with self._changing:
            if self.wanted:
                await self._stop()

    async def pause(self, reason: str) -> None:
        """Withdraw the offer, let running answers end, unload the model at the last token; :meth:`resume` undoes it.

        Who has asked nothing yet is sent away at once. What is still to be paid is settled without the model. Offline,
        it is remembered: going online then waits for :meth:`resume`.
        """
        async with self._changing:
            was, self.paused = self.paused, reason
            self._hub.changed("phase")
            if was or not self.wanted:
                return
            self._resting = self.view()
            self._offer_due.set()
            await self._until_quiet()
            await self._close_engine()
            self._hub.changed("phase")

    async def resume(self) -> None:
        """Load the model again and publish its offer; harmless when not paused.

        A model that can't be loaded any more is told of as the engine's failure.
        """
        async with self._changing:
            was, self.paused = self.paused, ""
            if not was or not self.wanted:
                self._hub.changed("phase")
                return
            self.starting = True
            self._hub.changed("phase")
            try:
                engine = await asyncio.to_thread(
                    make_engine, self._settings, self._asked_model, lambda _: self._engine_changed()
                )
                await self._load(engine)
            except IdlewattError as error:
                await self._close_engine()
                self.engine_error = error.message
                log.warning("the model was not loaded again: %s", error.line())
            finally:
                self.starting = False
                self._offer_due.set()
                self._hub.changed("phase")

    async def _until_quiet(self) -> None:
        """Until no answer is being made; those that take too long end as failed, and are paid for."""
        for handshake in self._handshakes:
            handshake.cancel()
        for session in self._sessions:
            if not session.is_answering:
                session.stop(*PAUSING)
        try:
            async with asyncio.timeout(DRAIN_S):
                while any(session.is_answering for session in self._sessions):
                    self._stepped.clear()
                    await self._stepped.wait()
        except TimeoutError:
            for session in self._sessions:
                session.stop(*PAUSING)

    async def _start(self, engine: RentableEngine) -> None:
        await self._load(engine)
        if self.check_price is not None and self._host is not None:
            await self.check_price(self._host.info, self.prices)
        self._begin_online()
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._first_offer.wait()
        except TimeoutError:
            # The node stays up and says why; it comes online by itself once relay and chain answer.
            log.warning("no offer is published yet: relay %s; %s", self.relay.view().state, self._chain.error)
        self.starting = False
        self._hub.changed("phase")

    def _begin_online(self) -> None:
        self._first_offer.clear()
        self._online_task = asyncio.create_task(self.relay.run(self._serve), name="provider")

    async def _load(self, engine: RentableEngine) -> None:
        self._engine = engine
        await engine.start()
        info = await engine.info()
        if not info.chats:
            raise EngineError(
                f"{plain(info.model_name, 60)} is an embedding model: it writes no text that could be rented out.",
                code="model_unusable",
                fix="Choose a chat model.",
            )
        self.model = info.model_name
        measured = await asyncio.to_thread(known_speed, self._settings.models_dir, info)
        self._tokens_per_s, self._ttft_ms = measured or (info.tokens_per_s, info.ttft_ms)
        self._host = ProviderHost(
            engine,
            info,
            purse=self._purse,
            chain=self._chain,
            store=self._store,
            slots=Slots(info.slots, lambda: self._job_ms, per_buyer=self._settings.requests_per_buyer),
            tokens_per_s=lambda: self._tokens_per_s,
            on_claimable=lambda: self._hub.changed("wallet"),
        )

    async def _stop(self) -> None:
        self.stopping = True
        self._hub.changed("phase")
        try:
            self._offer_due.set()
            await self._drain()
            await self._redeem_last()
            if self._online_task is not None:
                self._online_task.cancel()
                await asyncio.gather(self._online_task, return_exceptions=True)
            await self._close_engine()
        finally:
            self.wanted = self.starting = self.stopping = self.published = False
            self._online_task = None
            self._hub.changed("phase")

    async def _drain(self) -> None:
        """Answers under way end by themselves; those that take too long are ended as failed, and paid for.

        Who has asked nothing yet is sent away at once.
        """
        for handshake in self._handshakes:
            handshake.cancel()
        for session in self._sessions:
            if session.is_idle:
                session.stop(*GOING_OFFLINE)
        if self._session_tasks:
            await asyncio.wait(self._session_tasks, timeout=DRAIN_S)
        for session in self._sessions:
            session.stop(*GOING_OFFLINE)
        if self._session_tasks:
            _, late = await asyncio.wait(self._session_tasks, timeout=LAST_VOUCHER_S)
            for task in late:
                task.cancel()

    async def _redeem_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_REDEEM_S):
                await self.earnings.redeem_what_is_claimable("going offline")
        except TimeoutError:
            log.warning("the chain did not answer in time: what is claimable is kept, and redeemed when online again")

    async def _close_engine(self) -> None:
        engine, self._engine, self._host = self._engine, None, None
        if engine is not None:
            await engine.close()

    # Being online

    async def _serve(self, client: RelayClient) -> None:
        """With one relay client: keep the offer listed and take circuits, until the client is closed."""
        publishing = asyncio.create_task(self._publish(client))
        try:
            async for circuit in client.incoming():
                if self.stopping or self.paused or len(self._session_tasks) >= MAX_SESSIONS:
                    going = self.stopping or self.paused
                    self.misses.add("provider_stopping" if going else "too_many_sessions")
                    await circuit.close("busy", "The provider is busy.")
                    continue
                task = asyncio.create_task(self._session(circuit))
                self._session_tasks.add(task)
                task.add_done_callback(self._session_tasks.discard)
        finally:
            self.published = False
            publishing.cancel()
            tasks = [publishing, *self._session_tasks]
            for task in self._session_tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.changed("phase")

    async def _publish(self, client: RelayClient) -> None:
        while True:
            self._offer_due.clear()
            try:
                offer = await self._offer(client.node_id)
                await client.publish([] if offer is None else [encode_offer(offer)])
                was, self.published = self.published, offer is not None and self.relay.is_online
            except IdlewattError as error:
                log.warning("the offer was not published: %s", error.line())
                was, self.published = self.published, False
            except Exception:
                log.exception("the offer could not be made")
                was, self.published = self.published, False
            if self.published:
                self._first_offer.set()
            if was != self.published:
                self._hub.changed("phase")
            await asyncio.sleep(LEAST_REFRESH_S)
            try:
                async with asyncio.timeout(REFRESH_S if self.published else 2 * LEAST_REFRESH_S):
                    await self._offer_due.wait()
            except TimeoutError:
                continue

    async def _offer(self, node_id: str) -> Offer | None:
        """The offer as it stands now; ``None`` while nothing can be rented."""
        host, engine = self._host, self._engine
        if host is None or engine is None or self.stopping or self.paused or engine.state.name != "ready":
            return None
        rollup = await self._chain.rollup(1.0)
        account = self._purse.unlocked()
        if not self.account_exists:
            await (await self._purse.service()).ensure_account()
            self.account_exists = True
        info = host.info
        issued_ms = now_ms()
        offer = Offer(
            provider=account.address,
            node_id=node_id,
            transport_key=transport_public_key(self._transport_key),
            deployment=rollup.deployment,
            model=info.model_name[:96],
            model_sha256=bytes.fromhex(info.model_sha256),
            architecture=info.architecture[:96],
            quantization=info.quantization[:96],
            parameters=info.parameters,
            context_length=info.context_length,
            input_nano_per_mtok=self.prices.input_nano_per_mtok,
            output_nano_per_mtok=self.prices.output_nano_per_mtok,
            slots=info.slots,
            free_slots=host.slots.free,
            tokens_per_s_milli=int(self._tokens_per_s * 1000),
            ttft_ms=int(self._ttft_ms),
            min_deposit_nano=self._settings.min_deposit_nano,
            stake_nano=self._stake_nano,
            engine_build=info.engine_build[:200],
            issued_ms=issued_ms,
            expires_ms=issued_ms + VALIDITY_MS,
        )
        return sign_offer(account, rollup.domain, offer)

    # Sessions

    async def _session(self, circuit: Circuit) -> None:
        try:
            host = self._host
            if host is None:
                await circuit.close("busy", "The provider is not ready.")
                return
            await self._run_session(await self._accepted(circuit), host)
        except (IdlewattError, TimeoutError) as error:
            code = error.code if isinstance(error, IdlewattError) else ""
            self.misses.add(code if code in REASONS else "handshake_failed")
            log.info("a session ended before it began: %s", error)
            await circuit.close("protocol")
        except Exception:
            log.exception("a session failed")
            await circuit.close("internal")

    async def _accepted(self, circuit: Circuit) -> SealedLink:
        task = asyncio.current_task()
        assert task is not None
        self._handshakes.add(task)
        try:
            return await SealedLink.accept(circuit, self._transport_key, timeout_s=HANDSHAKE_TIMEOUT_S)
        finally:
            self._handshakes.discard(task)

    async def _run_session(self, link: SealedLink, host: ProviderHost) -> None:
        policy = machine.ProviderPolicy(
            domain=host.domain(),
            account=self._purse.unlocked().address,
            model_sha256=bytes.fromhex(host.info.model_sha256),
            context_length=host.info.context_length,
            prices=self.prices,
            credit_tokens=self._settings.credit_tokens,
            min_deposit_nano=self._settings.min_deposit_nano,
        )
        tracker = JobTracker(self._jobs, host.info)

        def follow(state: machine.ProviderState) -> None:
            tracker.follow(state)
            self._stepped.set()

        session = ProviderSession(link, policy, host, follow)
        self._sessions.add(session)
        self._offer_due.set()
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._stepped.set()
            self._offer_due.set()
            for code in session.skipped:
                self.misses.add(code)
            await self._account_for(session, tracker, host)

    async def _account_for(self, session: ProviderSession, tracker: JobTracker, host: ProviderHost) -> None:
        state, end = session.state, session.end
        if state.channel is not None and end is not None and state.output_tokens:
            host.write_off(state.channel.channel_id, end.unpaid_nano)
        job = tracker.job
        if job is None or state.channel is None:
            return
        code = end.code if end else "failed"
        failed = "" if code in {"stop", "length"} else code
        error = ""
        if state.ended is not None and state.ended.error_code:
            failed, error = state.ended.error_code, state.ended.error
        if state.output_tokens >= MEASURED_TOKENS and job.tokens_per_s > 0:
            self._tokens_per_s += SPEED_WEIGHT * (job.tokens_per_s - self._tokens_per_s)
        finished = ended(job, code=failed, error=error, receipt=session.receipt)
        self._job_ms += SPEED_WEIGHT * ((finished.finished_ms or 0) - job.started_ms - self._job_ms)
        finished = msgspec.structs.replace(finished, exposure_nano=state.exposure_nano)
        await self._jobs.finish(finished, state.channel.payer, code)
        await self.earnings.load_totals()

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
    def free_slots(self) -> int:
        """Slots a request would get at once."""
        return self._host.slots.free if self._host else 0

    @property
    def slots(self) -> int:
        """All slots."""
        return self._host.info.slots if self._host else self._settings.engine.slots

    def view(self) -> ProviderView | None:
        """What this node rents out; ``None`` before a model is loaded."""
        host = self._host
        if host is None:
            return self._resting_view() if self.paused or self.starting else None
        return ProviderView(
            model=host.info.model_name,
            model_sha256=host.info.model_sha256,
            quantization=host.info.quantization,
            context_length=host.info.context_length,
            prices=self.prices,
            slots=host.info.slots,
            free_slots=host.slots.free,
            tokens_per_s=self._tokens_per_s,
            ttft_ms=self._ttft_ms,
            engine_state=self.engine_state,
            earned_today_nano=self.earnings.earned_today_nano,
            earned_total_nano=self.earnings.earned_total_nano,
            jobs_today=self.earnings.jobs_today,
            claimable_nano=self.earnings.claimable_nano,
        )

    def _resting_view(self) -> ProviderView | None:
        """What was rented out before the pause, with what was earned since."""
        if self._resting is None:
            return None
        return msgspec.structs.replace(
            self._resting,
            prices=self.prices,
            free_slots=0,
            engine_state=self.engine_state,
            earned_today_nano=self.earnings.earned_today_nano,
            earned_total_nano=self.earnings.earned_total_nano,
            jobs_today=self.earnings.jobs_today,
            claimable_nano=self.earnings.claimable_nano,
        )

    def chain_changed(self) -> None:
        """The chain was reset or came back: the account is looked for again and the offer signed anew."""
        self.account_exists = False
        self._offer_due.set()

    def stake_is(self, stake_nano: int) -> None:
        """What the chain says stands behind this wallet's receipts: the offer names it."""
        if stake_nano != self._stake_nano:
            self._stake_nano = stake_nano
            self._offer_due.set()

    def _engine_changed(self) -> None:
        engine = self._engine
        if engine is not None and engine.state.name in {"failed", "restarting"}:
            self.engine_error = engine.state.why
            self._hub.notice("warning", f"Engine: {engine.state.why}")
        self._offer_due.set()
        self._hub.changed("phase")

    def _relay_changed(self) -> None:
        if not self.relay.is_online:
            self.published = False
        self._offer_due.set()
        self._hub.changed("relay")
