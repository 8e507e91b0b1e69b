"""What renting out has earned: the totals, and the vouchers, which are redeemed before they can be lost."""

from __future__ import annotations

import asyncio
from typing import Final

from chain.delays import force_by_s
from chain.errors import IdlewattError
from chain.fees.redeems import ENDING_S, refused
from chain.logs import get_logger
from chain.views import ChannelView
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.runtime.events import EventBus
from node.runtime.jobs import now_ms
from node.store.records import ChannelState
from node.store.store import Store
from wallet.addresses import parse_address

log = get_logger(__name__)

DAY_MS: Final = 24 * 3_600_000
WORTH_REDEEMING_NANO: Final = 100_000_000
"""Claimable amounts above this are redeemed at once; smaller ones before expiry, at a close, and when going offline."""
EXPIRY_MARGIN_S: Final = 1_800
"""How long before the last moment to force a redeem on L1 it is redeemed over the sequencer."""


class Earnings:
    """Redeems the vouchers that this node holds, in time.

    Args:
        wallet: Redeems.
        chain: The rollup.
        store: Where vouchers and jobs are.
        events: Where events go.
        watch_s: How often channels are looked at.
    """

    def __init__(
        self, wallet: NodeWallet, chain: RollupMonitor, store: Store, events: EventBus, *, watch_s: float
    ) -> None:
        self._watch_s = watch_s
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._events = events
        self.earned_today_nano = 0
        self.earned_total_nano = 0
        self.jobs_today = 0
        self.claimable_nano = 0

    async def load_totals(self) -> None:
        """Read today's and all earnings, and what is claimable, from the store."""
        today = await self._store.earnings(now_ms() // DAY_MS * DAY_MS)
        total = await self._store.earnings()
        claimable = await self._store.provider_channels(claimable_only=True, live_only=True)
        self.earned_today_nano, self.jobs_today = today.amount_nano, today.jobs
        self.earned_total_nano = total.amount_nano
        self.claimable_nano = sum(channel.claimable_nano for channel in claimable)
        self._events.changed("jobs")

    async def watch(self) -> None:
        """Redeem large amounts at once, others before they expire or when their buyer closes; until cancelled."""
        while True:
            try:
                await self._watch_once()
            except IdlewattError as error:
                log.warning("vouchers_not_checked", error=error.line())
            rollup = self._chain.known
            # Often enough to see a close by the buyer alone well before its delay ends.
            await asyncio.sleep(min(self._watch_s, rollup.info.params.close_delay_s / 4) if rollup else 1.0)

    async def _watch_once(self) -> None:
        address = self._wallet.address
        live = await self._store.provider_channels(live_only=True)
        if address is None or not live or self._chain.known is None or not self._chain.reachable:
            return
        views = await self._views()
        for channel in live:
            view = views.get(channel.channel_id) or await self._chain.channel(channel.channel_id, fresh=True)
            if view is None:
                await self._store.set_provider_channel_state(channel.channel_id, ChannelState.CLOSED)
                continue
            if view.redeemed_nano > channel.redeemed_nano and parse_address(view.payee) == address:
                channel = await self._store.record_redeemed(channel.channel_id, view.redeemed_nano)  # noqa: PLW2901
            redeem_by_s = force_by_s(self._chain.known.info.params, view.expiry_s) - EXPIRY_MARGIN_S
            urgent = view.closing_at_s or self._chain.now_s() > redeem_by_s
            if channel.claimable_nano and (urgent or channel.claimable_nano >= WORTH_REDEEMING_NANO):
                await self._redeem(channel.channel_id, "closing" if urgent else "worth it", view)
        await self.load_totals()

    async def redeem_what_is_claimable(self, why: str) -> None:
        """Redeem whatever is claimable; what the chain refuses is logged and kept."""
        try:
            views = await self._views()
            for channel in await self._store.provider_channels(claimable_only=True, live_only=True):
                await self._redeem(channel.channel_id, why, views.get(channel.channel_id))
            await self.load_totals()
        except IdlewattError as error:
            log.warning("vouchers_not_redeemed", error=error.line())

    async def redeem_all(self) -> None:
        """Redeem whatever is claimable; what the chain refuses is logged and kept.

        Raises:
            IdlewattError: If the wallet is locked or the chain was never reached.
        """
        await self._wallet.service()
        await self.redeem_what_is_claimable("on demand")

    async def close_channel(self, channel_id: int) -> str:
        """As payee, redeem and close at once; returns the L2 transaction.

        Raises:
            IdlewattError: If the channel is gone, or wallet or chain can't.
        """
        cumulative_nano, signature = await self._wallet.agree_close(channel_id)
        receipt = await (await self._wallet.service()).close_together(channel_id, cumulative_nano, signature)
        await self._store.set_provider_channel_state(channel_id, ChannelState.CLOSED)
        await self.load_totals()
        return receipt.l2_tx

    async def _views(self) -> dict[int, ChannelView]:
        """This wallet's channels on the chain."""
        if self._wallet.address is None:
            return {}
        rollup = await self._chain.rollup()
        return {view.channel_id: view for view in await rollup.client.channels_of(self._wallet.address)}

    async def _is_taken(self, channel_id: int, view: ChannelView | None) -> bool:
        """Whether the sequencer takes a redeem now, so that none is tried in vain and one is left for the close."""
        channel = await self._store.provider_channel(channel_id)
        if view is None or channel is None:
            return True
        increment_nano = channel.voucher_nano - view.redeemed_nano
        is_ending = bool(view.closing_at_s) or view.expiry_s - self._chain.now_s() <= ENDING_S
        rollup = await self._chain.rollup()
        quote = await rollup.client.fees()
        refusal = refused(view.redeems_left, increment_nano, quote.min_redeem_nano, is_ending=is_ending)
        if refusal is not None:
            log.info("redeem_waits", channel=channel_id, reason=refusal.value, redeems_left=view.redeems_left)
        return refusal is None

    async def _redeem(self, channel_id: int, why: str, view: ChannelView | None = None) -> None:
        try:
            if not await self._is_taken(channel_id, view):
                return
            await self._wallet.redeem(channel_id)
            log.info("channel_redeemed", channel=channel_id, why=why)
        except IdlewattError as error:
            log.warning("channel_not_redeemed", channel=channel_id, why=why, error=error.line())
