"""Runs a watchtower inside the node while its money depends on the rollup's batches being right."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from chain.signing import parse_address
from chain.views import ChainInfo, DisputeStage, DisputeView, WatchEvent, WatchView
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.rollup.timing import L1Timing
from node.runtime.events import EventBus
from node.store.store import Store
from node.values.text import plain
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.watchtower import Watchtower
    from wallet.account import UnlockedAccount

log = get_logger(__name__)

ALARMS: Final = {DisputeStage.FOUND, DisputeStage.MISSED, DisputeStage.REFUSED, "frozen", "freezable"}
NEWS: Final = {DisputeStage.COMMITTED, DisputeStage.PROVEN, DisputeStage.REVERTED, DisputeStage.VANISHED, "overdue"}


@dataclass(frozen=True)
class _Watch:
    """What a watchtower was started for; another one is started when that changes."""

    deployment: str
    l1_url: str
    rollup: bytes
    prover: bytes | None


class WatchtowerRunner:
    """Runs a watchtower for as long as one is wanted.

    Args:
        mode: ``on``, ``off``, or ``auto``: while the wallet has a stake, or channels that it is paid from.
        chain: Knows which rollup on which L1.
        wallet: Proves fraud while it is unlocked. While it is locked, wrong batches are only reported.
        store: Knows the channels.
        stake_nano: What the wallet's account has at stake.
        events: Gets every finding.
        timing: How often the need for a watchtower is checked, and how often the watchtower reads L1.
    """

    def __init__(
        self,
        mode: str,
        chain: RollupMonitor,
        wallet: NodeWallet,
        store: Store,
        stake_nano: Callable[[], int],
        events: EventBus,
        *,
        timing: L1Timing,
    ) -> None:
        self._timing = timing
        self._mode = mode
        self._chain = chain
        self._wallet = wallet
        self._store = store
        self._stake_nano = stake_nano
        self._events = events
        self._tower: Watchtower | None = None

    @property
    def view(self) -> WatchView | None:
        """How the watchtower is doing; ``None`` while none runs."""
        return self._tower.view() if self._tower is not None else None

    @property
    def disputes(self) -> tuple[DisputeView, ...]:
        """The wrong batches that it found in this run."""
        view = self.view
        return view.disputes if view is not None else ()

    async def run(self) -> None:
        """Watch whenever that is wanted, until cancelled."""
        if self._mode == "off":
            return
        await asyncio.sleep(self._timing.first_look_s)
        async with asyncio.TaskGroup() as tasks:
            current: _Watch | None = None
            task: asyncio.Task[None] | None = None
            while True:
                wanted = await self._wanted()
                if wanted != current:
                    if task is not None:
                        task.cancel()
                        await asyncio.wait([task])
                    current = wanted
                    task = tasks.create_task(self._watch(wanted), name="watchtower") if wanted is not None else None
                await asyncio.sleep(self._timing.look_s)

    async def _wanted(self) -> _Watch | None:
        info = await self._chain.info_ever()
        if info is None or not (self._mode == "on" or await self._is_at_risk()):
            return None
        account = self._account()
        return _watch_of(info, account.address if account else None)

    async def _is_at_risk(self) -> bool:
        return self._stake_nano() > 0 or bool(await self._store.provider_channels(live_only=True))

    def _account(self) -> UnlockedAccount | None:
        try:
            return self._wallet.unlocked()
        except WalletError:
            return None

    async def _watch(self, wanted: _Watch) -> None:
        # Loads for most of a second, off the loop.
        await asyncio.to_thread(importlib.import_module, "chain.watchtower.open")
        from chain.snapshot_source import SNAPSHOT_PATH
        from chain.watchtower import WatchtowerConfig
        from chain.watchtower.open import open_watchtower

        while True:
            account = self._account()
            if account is not None and account.address != wanted.prover:
                account = None
            try:
                async with open_watchtower(
                    wanted.l1_url,
                    wanted.rollup,
                    account=account,
                    config=WatchtowerConfig(poll_s=self._timing.look_s),
                    on_event=self._tell,
                    snapshot=self._chain.url.rstrip("/") + SNAPSHOT_PATH if self._chain.url else None,
                ) as self._tower:
                    await self._tower.run()
            except IdlewattError as error:
                log.warning("watchtower_stopped", error=error.line())
            finally:
                self._tower = None
            await asyncio.sleep(self._timing.retry_s)

    def _tell(self, event: WatchEvent) -> None:
        text = plain(event.text, 300)
        if event.kind in ALARMS:
            log.error("watchtower_alarm", kind=event.kind, text=text)
            self._events.notice("error", text)
        elif event.kind in NEWS:
            log.warning("watchtower_dispute", kind=event.kind, text=text)
            self._events.notice("warning", text)
        else:
            log.info("watchtower_progress", kind=event.kind, text=text)
        if event.kind != "verified":
            self._events.changed("chain")


def _watch_of(info: ChainInfo, prover: bytes | None) -> _Watch | None:
    try:
        rollup = parse_address(info.rollup_address)
    except ValueError:
        log.warning("watchtower_not_started", reason="the chain names no rollup contract")
        return None
    return _Watch(deployment=info.deployment, l1_url=info.l1_rpc_url, rollup=rollup, prover=prover)
