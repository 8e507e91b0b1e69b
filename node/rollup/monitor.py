"""Watches the rollup's RPC: reachable or not, and still the deployment that this home knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from cachetools import TTLCache

from chain.client import RollupClient
from chain.eip712 import SigningDomain
from chain.errors import ChainUnavailableError, IdlewattError
from chain.logs import get_logger
from chain.urls import shown_url
from chain.views import BatchView, ChainEvent, ChainInfo, ChannelView
from node.rollup.verification import Verification
from node.store.store import Store
from node.values import ChainSnapshot
from node.values.text import plain
from wallet.verifier import StateVerifier

log = get_logger(__name__)

POLL_S: Final = 3.0
RETRY_S: Final = 1.0
CHANNEL_FRESH_S: Final = 5.0
"""How long a channel is used without asking again: far less than any close delay."""
CACHED_CHANNELS: Final = 512
_INFO_SETTING: Final = "chain_info"


@dataclass(frozen=True, slots=True)
class Rollup:
    """A deployment that was reachable a moment ago."""

    client: RollupClient
    info: ChainInfo
    domain: SigningDomain

    @property
    def deployment(self) -> bytes:
        """The deployment id, 32 bytes."""
        return bytes.fromhex(self.info.deployment.removeprefix("0x"))


class RollupMonitor:
    """Watches one rollup RPC.

    Args:
        url: Its address; ``None`` where none is set.
        store: Bound to the chain's deployment as soon as that is known.
        on_change: Told when reachability or deployment changed.
        on_reset: Told when the chain turned out to be another one than this home knew; its channels were archived.
    """

    def __init__(
        self,
        url: str | None,
        store: Store,
        *,
        on_change: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> None:
        self.verification = Verification()
        """What checks the RPC's answers; against the L1 that the RPC names unless set to another one."""
        self.url = url or ""
        self._shown_url = shown_url(self.url)
        self._store = store
        self._on_change = on_change
        self._on_reset = on_reset
        self._rollup: Rollup | None = None
        self._read_at_s = 0.0
        self._ready = asyncio.Event()
        self._channels: TTLCache[int, ChannelView] = TTLCache(CACHED_CHANNELS, CHANNEL_FRESH_S, timer=time.monotonic)
        self._looking = asyncio.Lock()
        self.reachable = False
        self.was_reset = False
        self.error = ""
        self.fix = ""
        """What to do about ``error``."""

    async def run(self) -> None:
        """Watch until cancelled."""
        if not self.url:
            return
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_S if self.reachable else RETRY_S)

    async def refresh(self) -> None:
        """Read the chain once."""
        if not self.url:
            self._note(False, "No chain is set.", "Pass --chain http://host:port once.")
            return
        async with self._looking:
            client: RollupClient | None = None
            try:
                client = self._rollup.client if self._rollup else RollupClient(self.url, own_l1=self.l1_url)
                info = await client.info()
                if self._rollup is None or info.deployment != self._rollup.info.deployment:
                    await self._bind(client, info)
                else:
                    self._rollup = Rollup(client, info, self._rollup.domain)
                self._read_at_s = time.monotonic()
                self._note(True, "")
            except IdlewattError as error:
                self._note(False, error.message, error.fix)
                if client is not None and self._rollup is None:
                    await client.aclose()
            except BaseException:
                # The node ends before the chain was ever reached.
                if client is not None and self._rollup is None:
                    await client.aclose()
                raise

    async def rollup(self, timeout_s: float = 10.0) -> Rollup:
        """The chain, once it was reached.

        Raises:
            ChainUnavailableError: If none is set, or it can't be reached in time.
        """
        if not self.url:
            raise ChainUnavailableError("No chain is set.", code="no_chain", fix="Pass --chain http://host:port once.")
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise ChainUnavailableError(
                f"The chain at {self._shown_url} can't be reached.",
                fix="Start it with `idlewatt devnet`, or give another address with --chain.",
            ) from None
        assert self._rollup is not None
        return self._rollup

    @property
    def known(self) -> Rollup | None:
        """The chain as last seen, reachable or not."""
        return self._rollup

    async def info_ever(self) -> ChainInfo | None:
        """What the chain last told about itself, also in an earlier run."""
        if self._rollup is not None:
            return self._rollup.info
        kept = await self._store.setting(_INFO_SETTING)
        try:
            return msgspec.json.decode(kept, type=ChainInfo) if kept else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def now_s(self) -> int:
        """The chain's time in seconds, estimated from the last reading; 0 before it was ever reached."""
        if self._rollup is None:
            return 0
        return self._rollup.info.l2_time_s + int(time.monotonic() - self._read_at_s)

    async def channel(self, channel_id: int, *, fresh: bool = False) -> ChannelView | None:
        """One channel, at most ``CHANNEL_FRESH_S`` old.

        Raises:
            IdlewattError: If the chain can't be asked.
        """
        cached = self._channels.get(channel_id)
        if cached is not None and not fresh:
            return cached
        rollup = await self.rollup()
        view = await rollup.client.channel(channel_id)
        self._channels.pop(channel_id, None)
        if view is not None:
            self._channels[channel_id] = view
        return view

    async def verifier(self) -> StateVerifier | None:
        """What checks the RPC's answers against L1; ``None`` while no L1 can be asked.

        Raises:
            WalletError: ``contradicted`` if L1 has another rollup than the RPC says.
            ChainUnavailableError: If the RPC can't be reached.
        """
        rollup = await self.rollup()
        return await self.verification.verifier(rollup.client, rollup.info)

    @property
    def l1_url(self) -> str:
        """The person's own L1; empty where none is set."""
        return self.verification.l1_url

    async def check_credit(self, view: ChannelView, held_nano: int) -> None:
        """See `Verification.check_credit`.

        Raises:
            IdlewattError: ``unconfirmed``; or if the chain was never reached.
        """
        rollup = await self.rollup()
        await self.verification.check_credit(rollup.client, rollup.info, view, held_nano)

    def forget_channel(self, channel_id: int) -> None:
        """Read this channel again next time, because it changed."""
        self._channels.pop(channel_id, None)

    async def snapshot(self) -> ChainSnapshot:
        """Everything the Chain screen shows, read afresh; an unreachable chain is part of the result, not an error."""
        await self.refresh()
        rollup = self._rollup
        if rollup is None or not self.reachable:
            return _snapshot(self._shown_url, rollup.info if rollup else None, self.error, self.fix)
        try:
            batches = await rollup.client.batches()
            events = await rollup.client.events()
        except IdlewattError as error:
            return _snapshot(self._shown_url, rollup.info, plain(error.message, 300), plain(error.fix, 300))
        return _snapshot(self._shown_url, rollup.info, batches=tuple(batches), events=tuple(events))

    async def close(self) -> None:
        """Close the connections."""
        await self.verification.forget()
        if self._rollup is not None:
            await self._rollup.client.aclose()

    async def _bind(self, client: RollupClient, info: ChainInfo) -> None:
        if self._rollup is not None:
            # The old client has the old chain's signing domain.
            await client.aclose()
            client = RollupClient(self.url, own_l1=self.l1_url)
        if not await self._store.bind_deployment(info.deployment):
            await self._store.archive_foreign(info.deployment)
            self.was_reset = True
            log.warning("chain_replaced", url=self._shown_url, old_channels="archived")
            self._on_reset()
        self._channels.clear()
        await self.verification.forget()
        await self._store.save_setting(_INFO_SETTING, msgspec.json.encode(info).decode())
        self._rollup = Rollup(client, info, await client.domain())
        self._ready.set()
        self._on_change()

    def _note(self, reachable: bool, error: str, fix: str = "") -> None:
        error, fix = plain(error, 300), plain(fix, 300)
        if (reachable, error) != (self.reachable, self.error):
            self.reachable, self.error, self.fix = reachable, error, fix
            if not reachable:
                log.warning("chain_unreachable", url=self._shown_url, error=f"{error} {fix}".strip())
            self._on_change()


def _snapshot(
    url: str,
    info: ChainInfo | None,
    error: str = "",
    fix: str = "",
    batches: tuple[BatchView, ...] = (),
    events: tuple[ChainEvent, ...] = (),
) -> ChainSnapshot:
    return ChainSnapshot(
        url=url,
        reachable=info is not None and not error,
        error=error,
        fix=fix,
        l2_chain_id=info.l2_chain_id if info else None,
        l1_chain_id=info.l1_chain_id if info else None,
        rollup_address=info.rollup_address if info else "",
        deployment=info.deployment if info else "",
        head_tx_count=info.head_tx_count if info else 0,
        head_state_root=info.head_state_root if info else "",
        challenge_window_s=info.params.challenge_window_s if info else None,
        chain_time_s=info.l2_time_s if info else None,
        has_faucet=info.has_faucet if info else False,
        batches=batches,
        events=events,
    )
