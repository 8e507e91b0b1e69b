"""Where a wallet's money is: one line a place, from what the chain and the vouchers at hand say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from chain.views import AccountView, ChannelView, Inclusion, WithdrawalView
from wallet.addresses import checksum_address

MoneyPlace = Literal["wallet", "channel", "claimable", "withdrawing", "l1"]


class MoneyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """So much money in one place."""

    place: MoneyPlace
    amount_nano: int
    label: str
    inclusion: Inclusion | None = None
    """How final the channel's opening or the withdrawal is."""
    ready_at_s: int | None = None
    """When it can be had: a close's or an expiry's end on L2, a withdrawal's window on L1."""
    channel_id: int | None = None
    peer: str = ""
    """The other side's checksummed address, for channels."""
    l2_tx: str = ""
    """The transaction that started a withdrawal."""


class MoneyTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """All of one wallet's money."""

    address: str
    entries: tuple[MoneyEntry, ...]

    @property
    def total_nano(self) -> int:
        """The sum over every place."""
        return sum(entry.amount_nano for entry in self.entries)

    def amount_nano(self, place: MoneyPlace) -> int:
        """The sum over one place."""
        return sum(entry.amount_nano for entry in self.entries if entry.place == place)


def build_timeline(
    address: bytes,
    accounts: Sequence[AccountView],
    channels: Sequence[ChannelView],
    withdrawals: Sequence[WithdrawalView],
    *,
    signed_nano: Mapping[int, int],
    vouchers_nano: Mapping[int, int],
    l1_nano: int | None,
) -> MoneyTimeline:
    """Put every amount into its place.

    Args:
        address: The wallet's.
        accounts: Its L2 accounts by number; one that a deposit without a number made may stand beside the first.
        channels: Its channels, either side.
        withdrawals: Withdrawals to its address.
        signed_nano: What was signed away on channels it pays into, by channel.
        vouchers_nano: The best vouchers' cumulatives on channels it is paid from, by channel.
        l1_nano: What it holds on L1; ``None`` if that could not be read.
    """
    me = checksum_address(address)
    first_nano = accounts[0].balance_nano if accounts else 0
    entries = [MoneyEntry(place="wallet", amount_nano=first_nano, label="In the wallet, on L2")]
    entries += [
        MoneyEntry(
            place="wallet",
            amount_nano=further.balance_nano,
            label=f"In account {further.index}, brought together by `wallet merge` or when it is spent",
        )
        for further in accounts[1:]
        if further.balance_nano
    ]
    for channel in sorted(channels, key=lambda view: view.channel_id):
        if channel.payer == me:
            entries.append(_paying(channel, signed_nano.get(channel.channel_id, 0)))
        if channel.payee == me:
            entries.append(_paid(channel, vouchers_nano.get(channel.channel_id, 0)))
    entries += [_withdrawing(view) for view in withdrawals if view.claim_l1_tx is None]
    if l1_nano is not None:
        entries.append(MoneyEntry(place="l1", amount_nano=l1_nano, label="On L1"))
    return MoneyTimeline(address=me, entries=tuple(entries))


def _paying(channel: ChannelView, signed_nano: int) -> MoneyEntry:
    # What was signed belongs to the other side, redeemed or not.
    spent_nano = max(channel.redeemed_nano, signed_nano)
    return MoneyEntry(
        place="channel",
        amount_nano=max(0, channel.deposit_nano - spent_nano),
        label=f"In channel {channel.channel_id}, still mine",
        inclusion=channel.open_inclusion,
        ready_at_s=channel.closing_at_s or channel.expiry_s,
        channel_id=channel.channel_id,
        peer=channel.payee,
    )


def _paid(channel: ChannelView, voucher_nano: int) -> MoneyEntry:
    return MoneyEntry(
        place="claimable",
        amount_nano=max(0, min(voucher_nano, channel.deposit_nano) - channel.redeemed_nano),
        label=f"Earned in channel {channel.channel_id}, to redeem",
        inclusion=channel.open_inclusion,
        ready_at_s=channel.closing_at_s or channel.expiry_s,
        channel_id=channel.channel_id,
        peer=channel.payer,
    )


def _withdrawing(view: WithdrawalView) -> MoneyEntry:
    return MoneyEntry(
        place="withdrawing",
        amount_nano=view.amount_nano,
        label=f"Withdrawal {view.withdrawal_index}, on its way to L1",
        inclusion=view.inclusion,
        ready_at_s=view.final_at_s,
        l2_tx=view.l2_tx,
    )
