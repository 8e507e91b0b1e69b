"""The channels that this node pays through: opened, topped up, reserved for a request, recovered, given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from chain.errors import ChainRejectedError
from chain.logs import get_logger
from chain.money import format_usd
from chain.txs import OpenChannel, TopUp
from chain.views import ChannelView
from node.buyer.deposit import ChannelNeed, deposit_for
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.runtime.jobs import now_ms
from node.store.records import BuyerChannel, ChannelState
from node.store.store import Store
from wallet.account import VoucherKey, voucher_salt
from wallet.addresses import parse_address
from wallet.vouchers import Voucher, sign_voucher
from wallet.wallet_error import WalletError

log = get_logger(__name__)

CHANNEL_LIFE_S: Final = 7 * 24 * 3600
LEAST_LIFE_S: Final = 1_800
"""A channel closer to its expiry is not used for a new request."""
OPENING_TIMEOUT_S: Final = 120
FEE_MAY_RISE: Final = 2
"""A deposit's fee may rise so many times between the quote that it was reckoned with and the transaction."""
RECOVERED_KEYS: Final = 256


@dataclass(slots=True)
class OutgoingChannel:
    """A channel reserved for one request."""

    record: BuyerChannel
    key: VoucherKey
    fee_nano: int
    """The fee for opening it or topping it up for this request."""

    @property
    def channel_id(self) -> int:
        """The channel's number on the rollup."""
        assert self.record.channel_id is not None
        return self.record.channel_id


class OutgoingChannels:
    """Every channel that this node pays through.

    Args:
        wallet: Pays.
        chain: The rollup.
        store: Where channels and amounts are saved before they are used.
        on_change: Told when one changed.
    """

    def __init__(self, wallet: NodeWallet, chain: RollupMonitor, store: Store, on_change: Callable[[], None]) -> None:
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._on_change = on_change
        self._reserved: set[int] = set()
        self._refused: set[int] = set()
        self._opening: set[bytes] = set()
        self._newest: dict[bytes, Voucher] = {}
        """The voucher signed last, by its key's address, which belongs to one channel of one deployment."""
        self._numbering = asyncio.Lock()

    @asynccontextmanager
    async def reserve(
        self, need: ChannelNeed, on_open: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[OutgoingChannel]:
        """A channel for one request: an open one that is free and holds enough, else topped up, else a new one.

        Args:
            need: What the request needs.
            on_open: Called with one line for a person when the chain has to be waited for.

        Raises:
            IdlewattError: ``no_funds``, ``spend_limit``, ``wallet_locked``, or as the chain.
        """
        channel = await self._take(need, on_open)
        try:
            yield channel
        finally:
            self._reserved.discard(channel.channel_id)

    def avoid(self, channel_id: int) -> None:
        """Do not use this channel again: its provider gives no more credit on it."""
        self._refused.add(channel_id)

    async def sign(self, channel: OutgoingChannel, cumulative_nano: int) -> Voucher:
        """Save the amount, then sign a voucher for it.

        Raises:
            IdlewattError: If the disk or the channel's state refuses.
        """
        rollup = await self._chain.rollup(0.5)
        await self._store.raise_signed(channel.channel_id, cumulative_nano)
        voucher = sign_voucher(channel.key, rollup.domain, channel.channel_id, cumulative_nano)
        self._newest[channel.key.address] = voucher
        return voucher

    async def newest_voucher(self, record: BuyerChannel) -> Voucher | None:
        """The newest voucher of a channel, signed again: signatures are deterministic.

        Raises:
            IdlewattError: If its key is not at hand.
        """
        if not record.signed_nano:
            return None
        return await self._signed_again(record, await self._wallet.voucher_key(record.signer, record.salt))

    async def voucher_so_far(self, channel: OutgoingChannel) -> Voucher | None:
        """The newest voucher of a reserved channel, whose key is at hand.

        Raises:
            IdlewattError: If the chain can't be asked who it is.
        """
        return await self._signed_again(channel.record, channel.key) if channel.record.signed_nano else None

    async def _signed_again(self, record: BuyerChannel, key: VoucherKey) -> Voucher | None:
        if record.channel_id is None:
            return None
        newest = self._newest.get(record.signer)
        if newest is not None and newest.cumulative_nano == record.signed_nano:
            return newest
        rollup = await self._chain.rollup()
        return sign_voucher(key, rollup.domain, record.channel_id, record.signed_nano)

    async def reconcile(self) -> None:
        """Compare the store with the chain: finish interrupted openings, note ended channels, recover unknown ones.

        Raises:
            IdlewattError: If the chain can't be asked.
        """
        address = self._wallet.address
        if address is None:
            return
        rollup = await self._chain.rollup()
        views = {
            parse_address(view.signer): view
            for view in await rollup.client.channels_of(address)
            if parse_address(view.payer) == address
        }
        known = await self._store.buyer_channels()
        for record in known:
            view = views.pop(record.signer, None)
            if view is not None:
                await self._adopt_view(record, view)
            elif record.signer not in self._opening:
                await self._end_missing(record)
        await self._recover(views)

    async def _take(self, need: ChannelNeed, on_open: Callable[[str], Awaitable[None]]) -> OutgoingChannel:
        usable = [
            record for record in await self._store.buyer_channels(live_only=True) if self._is_usable(record, need)
        ]
        usable.sort(key=lambda record: record.unsigned_nano, reverse=True)
        covered = next((record for record in usable if (record.channel_id or 0) >= need.covered_from), None)
        if covered is not None:
            return await self._reserved_and_ready(covered, need, on_open)
        try:
            return await self._open(need, on_open)
        except WalletError as error:
            if error.code not in ("no_funds", "spend_limit") or not usable:
                raise
        # There is no money for a new one. Receipts of this one are worth their signature, and no stake.
        log.warning("channel_not_covered", channel=usable[0].channel_id, slash_from=need.covered_from)
        await on_open("Paying through a channel older than the provider's stake, which doesn't answer for it.")
        return await self._reserved_and_ready(usable[0], need, on_open)

    async def _reserved_and_ready(
        self, record: BuyerChannel, need: ChannelNeed, on_open: Callable[[str], Awaitable[None]]
    ) -> OutgoingChannel:
        assert record.channel_id is not None
        self._reserved.add(record.channel_id)
        try:
            return await self._ready(record, need, on_open)
        except BaseException:
            self._reserved.discard(record.channel_id)
            raise

    def _is_usable(self, record: BuyerChannel, need: ChannelNeed) -> bool:
        return (
            record.state is ChannelState.OPEN
            and record.provider == need.provider
            and record.channel_id is not None
            and record.channel_id not in self._reserved
            and record.channel_id not in self._refused
            and record.expiry_s > self._chain.now_s() + LEAST_LIFE_S
        )

    async def _ready(
        self, record: BuyerChannel, need: ChannelNeed, on_open: Callable[[str], Awaitable[None]]
    ) -> OutgoingChannel:
        assert record.channel_id is not None
        key = await self._wallet.voucher_key(record.signer, record.salt)
        wanted_nano = max(need.ceiling_nano, need.room_nano)
        if need.max_spend_nano is not None:
            wanted_nano = min(wanted_nano, need.max_spend_nano)
        required_nano = max(need.min_deposit_nano - record.deposit_nano, need.least_nano - record.unsigned_nano)
        missing_nano = max(required_nano, wanted_nano - record.unsigned_nano)
        if missing_nano <= 0:
            return OutgoingChannel(record, key, 0)
        service = await self._wallet.service()
        fee_nano = await service.fee(TopUp)
        amount = deposit_for(
            need,
            missing_nano=missing_nano,
            required_nano=required_nano,
            fee_nano=fee_nano,
            balance_nano=await service.balance(),
        )
        if amount <= 0:
            return OutgoingChannel(record, key, 0)
        await on_open(f"Topping the channel up by {format_usd(amount)}, for a fee of {format_usd(fee_nano)}.")
        receipt = await service.top_up(record.channel_id, record.signer, amount, max_fee_nano=fee_nano * FEE_MAY_RISE)
        self._chain.forget_channel(record.channel_id)
        view = await self._chain.channel(record.channel_id, fresh=True)
        deposit_nano = view.deposit_nano if view else record.deposit_nano
        record = await self._store.raise_deposit(record.channel_id, deposit_nano)
        self._on_change()
        return OutgoingChannel(record, key, receipt.fee_nano)

    async def _open(self, need: ChannelNeed, on_open: Callable[[str], Awaitable[None]]) -> OutgoingChannel:
        rollup = await self._chain.rollup()
        service = await self._wallet.service()
        fee_nano = await service.fee(OpenChannel)
        required_nano = max(1, need.min_deposit_nano, need.least_nano)
        expected_nano = need.ceiling_nano
        if need.max_spend_nano is not None:
            expected_nano = min(expected_nano, need.max_spend_nano - fee_nano)
        required_nano = max(required_nano, expected_nano)
        deposit_nano = deposit_for(
            need,
            missing_nano=required_nano,
            required_nano=required_nano,
            fee_nano=fee_nano,
            balance_nano=await service.balance(),
        )
        deposit, fee = format_usd(deposit_nano), format_usd(fee_nano)
        await on_open(f"Opening a channel with a deposit of {deposit}, for a fee of {fee}.")
        expiry_s = self._chain.now_s() + CHANNEL_LIFE_S
        async with self._numbering:
            index = await self._store.next_voucher_index()
            key = self._wallet.unlocked().voucher_key_at(rollup.info.deployment, index)
            await self._wallet.keep_voucher_key(key)
            await self._store.record_opening(
                provider=need.provider,
                signer=key.address,
                salt=voucher_salt(index),
                deposit_nano=deposit_nano,
                expiry_s=expiry_s,
                opened_at_ms=now_ms(),
            )
        self._opening.add(key.address)
        try:
            channel_id, receipt = await service.open_channel(
                need.provider, deposit_nano, key.address, expiry_s, max_fee_nano=fee_nano * FEE_MAY_RISE
            )
        except (ChainRejectedError, WalletError) as error:
            if error.code != "unconfirmed":
                await self._store.abandon_opening(key.address)
            raise
        finally:
            self._opening.discard(key.address)
        self._reserved.add(channel_id)
        record = await self._store.confirm_opening(key.address, channel_id)
        self._on_change()
        return OutgoingChannel(record, key, receipt.fee_nano)

    async def _adopt_view(self, record: BuyerChannel, view: ChannelView) -> None:
        if record.state in {ChannelState.OPENING, ChannelState.ABANDONED} and record.signer not in self._opening:
            await self._store.confirm_opening(
                record.signer, view.channel_id, deposit_nano=view.deposit_nano, expiry_s=view.expiry_s
            )
            log.info("channel_recovered", channel=view.channel_id)
            self._on_change()
            return
        if record.channel_id is None:
            return
        if view.deposit_nano > record.deposit_nano:
            await self._store.raise_deposit(record.channel_id, view.deposit_nano)
        if view.redeemed_nano > record.redeemed_nano:
            await self._store.record_paid_out(record.channel_id, view.redeemed_nano)
        if view.closing_at_s and record.state is ChannelState.OPEN:
            await self._store.set_buyer_channel_state(record.channel_id, ChannelState.CLOSING)

    async def _end_missing(self, record: BuyerChannel) -> None:
        """A channel that the newest listing lacks. The chain is asked for it by number before it is given up."""
        if record.state is ChannelState.OPENING:
            # By the chain's clock: this machine's may have been set meanwhile.
            if self._chain.now_s() - (record.expiry_s - CHANNEL_LIFE_S) > OPENING_TIMEOUT_S:
                await self._store.abandon_opening(record.signer)
            return
        if record.state in {ChannelState.CLOSED, ChannelState.ABANDONED} or record.channel_id is None:
            return
        if await self._chain.channel(record.channel_id, fresh=True) is None:
            if record.state is ChannelState.OPEN and record.expiry_s > self._chain.now_s():
                # Only the payee can have ended it before its time, and it redeems its best voucher first.
                await self._store.record_paid_out(record.channel_id, record.signed_nano)
            await self._store.set_buyer_channel_state(record.channel_id, ChannelState.CLOSED)
            await self._wallet.drop_voucher_key(record.signer)
            self._newest.pop(record.signer, None)
            self._on_change()

    async def _recover(self, views: dict[bytes, ChannelView]) -> None:
        """Channels of this wallet that the store doesn't know. A restored wallet derives their keys again."""
        if not views:
            return
        try:
            account = self._wallet.unlocked()
        except WalletError:
            return
        rollup = await self._chain.rollup()
        for index in range(RECOVERED_KEYS):
            key = account.voucher_key_at(rollup.info.deployment, index)
            view = views.pop(key.address, None)
            if view is None:
                continue
            await self._store.record_opening(
                provider=parse_address(view.payee),
                signer=key.address,
                salt=voucher_salt(index),
                deposit_nano=view.deposit_nano,
                expiry_s=view.expiry_s,
                opened_at_ms=now_ms(),
            )
            await self._store.confirm_opening(key.address, view.channel_id)
            if view.redeemed_nano:
                await self._store.raise_signed(view.channel_id, view.redeemed_nano)
            log.info("channel_recovered", channel=view.channel_id, wallet="restored")
            self._on_change()
            if not views:
                return
