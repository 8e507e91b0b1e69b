"""The node in this process: every service behind ``NodeApi``, on one loop, owned by one task group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import msgspec

from chain.logs import get_logger
from node.buyer.service import BuyerService
from node.local.limits import NODE_LIMITS, NodeLimits
from node.local.model_calls import ModelCalls
from node.local.wallet_calls import WalletCalls
from node.machine.availability import AvailabilityMonitor, watched_programs
from node.machine.energy_meter import EnergyMeter
from node.machine.price_advisor import PriceAdvisor
from node.models.catalog import available
from node.payments.account_monitor import AccountMonitor
from node.payments.escape import EscapeHatch
from node.payments.wallet import NodeWallet
from node.payments.watchtower import WatchtowerRunner
from node.provider.health import HealthFacts, HealthVerdict, judge
from node.provider.rejections import offline_reason
from node.provider.service import ProviderService
from node.relay.clock import RelayClock
from node.rollup.monitor import RollupMonitor
from node.rollup.safety import SafetyMonitor
from node.rollup.verification import Verification
from node.runtime.clock import NodeClock
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry
from node.runtime.jobs import now_ms as system_now_ms
from node.runtime.log_ring import LogRing
from node.runtime.relay_connection import RelayConnection
from node.runtime.settings import NodeHome, NodeSettings
from node.store.store import Store
from node.values import (
    ChainSnapshot,
    ChatEvent,
    ChatSession,
    ChatTurn,
    Health,
    LogLine,
    NodeEvent,
    NodeSnapshot,
    OfferView,
    Prices,
    RelayView,
)
from wallet.keystore import Keystore
from wallet.voucher_keys import VoucherKeyStore

log = get_logger(__name__)


class LocalNode(WalletCalls, ModelCalls):
    """One node on one home; see ``NodeApi`` for what its methods do. Made by :meth:`running`.

    It starts without a wallet, a relay or a chain as well, says what is missing, and goes on as soon as it comes.
    """

    def __init__(
        self,
        home: NodeHome,
        settings: NodeSettings,
        store: Store,
        *,
        demo: bool = False,
        scrypt_n: int | None = None,
        limits: NodeLimits = NODE_LIMITS,
        now_ms: Callable[[], int] = system_now_ms,
    ) -> None:
        events = EventBus()
        chain = RollupMonitor(settings.chain, store, on_change=self._chain_changed, on_reset=self._chain_was_reset)
        chain.verification = Verification(settings.own_l1 or "", settings.soft_credit_nano)
        scrypt = {} if scrypt_n is None else {"scrypt_n": scrypt_n}
        wallet = NodeWallet(
            Keystore(home.keystore, **scrypt),
            VoucherKeyStore(home.keystore / "hot"),
            chain,
            store,
            self._wallet_changed,
        )
        account = AccountMonitor(wallet, chain, self._account_changed)
        jobs = JobRegistry(store, lambda: events.changed("jobs"))
        # Buying goes over a connection of its own, under a throwaway identity: the relay can't tie it to the offer.
        self._buying_relay = RelayConnection(settings.relay, self._buying_relay_changed)
        self._clock = NodeClock(self._relay_clock, chain.now_s, now_ms=now_ms, limits=limits.clock)
        buyer = BuyerService(
            self._buying_relay, wallet, chain, store, jobs, events, limits=limits.buyer, clock=self._clock
        )
        self._energy = EnergyMeter(
            settings.energy,
            store,
            jobs,
            events,
            programs=watched_programs(settings.availability),
            timing=limits.machine,
        )
        self._price = PriceAdvisor(settings, self._energy, buyer.market, events, limits.machine)
        provider = ProviderService(
            home,
            settings,
            wallet,
            chain,
            store,
            jobs,
            events,
            check_price=self._price.check,
            limits=limits.provider,
            clock=self._clock,
        )
        self._availability = AvailabilityMonitor(
            settings.availability,
            events,
            look=lambda: (self._energy.sample, self._energy.processes),
            is_busy=self._is_busy,
            pause=provider.pause,
            resume=provider.resume,
            timing=limits.machine,
        )
        self._watchtower = WatchtowerRunner(
            settings.watch, chain, wallet, store, lambda: account.slashable_nano, events, timing=limits.l1
        )
        self._safety = SafetyMonitor(
            chain, lambda: events.changed("chain"), timing=limits.l1, watched=lambda: self._watchtower.disputes
        )
        escape = EscapeHatch(wallet, chain, store, lambda: self._safety.is_frozen, timing=limits.l1)
        self._jobs = jobs
        self._is_demo = demo
        self._version = version("idlewatt")
        self._ring = LogRing(events.tell)
        WalletCalls.__init__(
            self,
            wallet,
            chain,
            store,
            account,
            buyer=buyer,
            provider=provider,
            escape=escape,
            on_change=self._wallet_changed,
        )
        ModelCalls.__init__(self, home, settings, provider, lambda: self._energy.devices, events)

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        home: NodeHome,
        settings: NodeSettings,
        *,
        demo: bool = False,
        scrypt_n: int | None = None,
        limits: NodeLimits = NODE_LIMITS,
        now_ms: Callable[[], int] = system_now_ms,
    ) -> AsyncIterator[LocalNode]:
        """A node for as long as the block runs; at the end it goes offline, redeems, and leaves nothing running.

        Args:
            home: Where it keeps what it owns.
            settings: What a person set.
            demo: Whether screens say that its money is worth nothing.
            scrypt_n: The work factor of new keystore files; the keystore's own when absent.
            limits: How long others are waited for, and how often the node looks by itself.
            now_ms: What offers are dated and read by, milliseconds UTC.

        Raises:
            StoreError: If the home's database can't be used.
            WalletError: If the keystore can't be read.
        """
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(await Store.open(home.database))
            node = cls(home, settings, store, demo=demo, scrypt_n=scrypt_n, limits=limits, now_ms=now_ms)
            stack.enter_context(node._ring.attached())
            await node._wallet.load()
            await node._jobs.load()
            await node._provider.rejections.load()
            background = asyncio.create_task(node._work(), name="node")
            stack.push_async_callback(node._end, background)
            yield node

    async def _work(self) -> None:
        """Run every background service in one task group, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, service in (
                ("chain", self._chain.run),
                ("safety", self._safety.run),
                ("exits", self._escape.guard),
                ("watchtower", self._watchtower.run),
                ("buying relay", self._buying_relay.run),
                ("channels", self._buyer.run),
                ("providers' accounts", self._buyer.offer_reader.run),
                ("vouchers", self._provider.earnings.watch),
                ("devices", self._energy.run),
                ("availability", self._availability.run),
                ("price", lambda: self._price.run(self._provider.view)),
                ("account", self._account.run),
                ("history", self._sample_history),
                ("rejections", self._count_rejections),
            ):
                tasks.create_task(self._guarded(service), name=f"node {name}")

    async def _end(self, background: asyncio.Task[None]) -> None:
        try:
            await self._provider.go_offline()
        finally:
            background.cancel()
            await asyncio.wait([background])
            await self._chain.close()
            self._wallet.forget()

    # Looking

    def snapshot(self) -> NodeSnapshot:
        """See ``NodeApi``."""
        verdict = self._verdict()
        return NodeSnapshot(
            version=self._version,
            demo=self._is_demo,
            phase=verdict.phase,
            why=verdict.why,
            fix=verdict.fix,
            checklist=verdict.checklist,
            provider=self._provider.view(),
            devices=self._energy.devices,
            active_jobs=self._jobs.active,
            recent_jobs=self._jobs.recent,
            tokens_per_s_history=self._jobs.history,
            rejections=self._provider.rejections.view(),
            relay=self._relay_view(),
            chain_url=self._chain.url,
            chain_reachable=self._chain.reachable,
            wallets=(self._wallet_view(),),
            alarm=self._safety.alarm,
            energy=self._energy.view(),
            price=self._price.advice,
            pause=self._availability.view,
            clock=self._clock.view(),
            chain_ahead_ms=self._clock.chain_ahead_ms or 0,
        )

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[NodeEvent]]:
        """See ``NodeApi``."""
        return self._events.subscribe()

    async def logs(self, limit: int = 500) -> tuple[LogLine, ...]:
        """See ``NodeApi``."""
        return self._ring.newest(limit)

    async def chain(self) -> ChainSnapshot:
        """See ``NodeApi``."""
        snapshot = await self._chain.snapshot()
        return msgspec.structs.replace(snapshot, safety=self._safety.view, l1_error=self._safety.error)

    # Renting out

    async def go_online(self, model: str = "", prices: Prices | None = None) -> None:
        """See ``NodeApi``."""
        await self._provider.go_online(model, prices)

    async def go_offline(self) -> None:
        """See ``NodeApi``."""
        await self._provider.go_offline()

    async def rent_out_regardless(self, minutes: int) -> None:
        """See ``NodeApi``."""
        await self._availability.override(minutes)

    async def models(self) -> tuple[str, ...]:
        """See ``NodeApi``."""
        if self._settings.upstream is not None:
            return (self._settings.model,)
        return tuple(await asyncio.to_thread(available, self._home.models, self._settings.model_paths))

    # Buying

    async def market(self) -> tuple[OfferView, ...]:
        """See ``NodeApi``."""
        return await self._buyer.market()

    def chat(self, turn: ChatTurn) -> AbstractAsyncContextManager[AsyncIterator[ChatEvent]]:
        """See ``NodeApi``."""
        return self._buyer.chat(turn)

    async def chat_sessions(self) -> tuple[ChatSession, ...]:
        """See ``NodeApi``."""
        return tuple(await self._store.chats())

    async def save_chat(self, session: ChatSession) -> None:
        """See ``NodeApi``."""
        await self._store.save_chat(session)

    async def delete_chat(self, session_id: str) -> None:
        """See ``NodeApi``."""
        await self._store.delete_chat(session_id)

    # What happens

    def _verdict(self) -> HealthVerdict:
        provider = self._provider
        relay = provider.relay.view() if provider.wanted else self._buying_relay.view()
        serving = sum(job.role == "provider" for job in self._jobs.active)
        pause = self._availability.view
        below_cost, cost_fix = self._cost_warning()
        return judge(
            HealthFacts(
                wanted=provider.wanted,
                starting=provider.starting,
                stopping=provider.stopping,
                wallet=self._wallet.state,
                relay=relay.state,
                relay_url=relay.url,
                relay_error=relay.error,
                relay_fix=relay.fix,
                chain_url=self._chain.url,
                chain_reachable=self._chain.reachable,
                chain_error=self._chain.error,
                chain_fix=self._chain.fix,
                chain_foreign=self._chain.was_reset,
                engine_state=provider.engine_state,
                engine_error=provider.engine_error,
                unused_gpu=self.unused_gpu(),
                waits_for=provider.waits_for,
                offer_published=provider.offers.published,
                account_exists=provider.offers.account_exists or bool(self._account.balance_nano),
                active_jobs=serving,
                free_slots=provider.free_slots,
                waiting=provider.waiting,
                slots=provider.slots,
                backed_up=self._wallet.backed_up,
                model=provider.model,
                paused=provider.paused,
                pause_fix=pause.fix if pause else "",
                below_cost=below_cost,
                cost_fix=cost_fix,
                clock=self._clock.view(),
            )
        )

    def _cost_warning(self) -> tuple[str, str]:
        """The warning that power costs more than it earns, and its fix: about past jobs first, then about the price."""
        energy = self._energy.view()
        if energy is not None and energy.warning:
            return energy.warning, energy.fix
        return self._price.warning(self._provider.prices) if self._provider.wanted else ("", "")

    def _relay_view(self) -> RelayView:
        return self._provider.relay.view() if self._provider.wanted else self._buying_relay.view()

    def _buying_relay_changed(self) -> None:
        self._events.changed("relay")
        if (clock := self._clock.news()) is not None:
            self._events.notice("error" if clock.health is Health.FAIL else "warning", f"{clock.line} {clock.fix}")

    def _relay_clock(self) -> RelayClock | None:
        """The relay's clock as last heard, on whichever of the connections."""
        heard = [relay.clock for relay in (self._provider.relay, self._buying_relay) if relay.clock is not None]
        return max(heard, key=lambda clock: clock.at_s, default=None)

    def _chain_changed(self) -> None:
        self._provider.offers.chain_changed()
        self._buyer.reconcile_soon()
        self._account.read_soon()
        self._events.changed("chain")

    def _chain_was_reset(self) -> None:
        self._buyer.offer_reader.forget()
        self._events.notice("warning", "The chain is another one than before: it was reset. Old channels are archived.")

    def _wallet_changed(self) -> None:
        self._account.read_soon()
        self._buyer.reconcile_soon()
        self._events.changed("wallet")

    def _account_changed(self) -> None:
        self._provider.offers.stake_is(self._account.stake_nano)
        self._events.changed("wallet")

    def _is_busy(self) -> bool:
        """Whether this node itself uses the machine; loading or measuring a model uses the GPU as well."""
        is_serving = any(job.role == "provider" for job in self._jobs.active)
        return self._provider.starting or self._measured is not None or is_serving

    async def _sample_history(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._jobs.sample()

    async def _count_rejections(self) -> None:
        provider = self._provider
        await provider.rejections.run(lambda: offline_reason(self._verdict(), provider.free_slots))

    async def _guarded(self, service: Callable[[], Awaitable[None]]) -> None:
        """Run a service. Where it fails, the person is told and the others go on."""
        try:
            await service()
        except Exception:
            log.exception("node_service_failed")
            self._events.notice("error", "A part of this node failed; the log says what. Restart it.")
