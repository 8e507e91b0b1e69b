"""Where a wallet's money is: one line a place, from what the chain and the vouchers at hand say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from chain.money import format_usd
from chain.views import AccountView, ChannelView, Inclusion, WithdrawalView
from wallet.addresses import checksum_address
from wallet.trust import Judgement, Trust

ClaimState = Literal["waiting", "claimable", "sold"]
"""A withdrawal's claim: before its batch is final; to be claimed, by the operator or by hand; another's, who paid."""
MoneyPlace = Literal["wallet", "stake", "channel", "claimable", "withdrawing", "l1"]


class MoneyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """So much money in one place."""

    place: MoneyPlace
    amount_nano: int
    label: str
    inclusion: Inclusion | None = None
    """How final the channel's opening or the withdrawal is."""
    trust: Trust | None = None
    """Whether L1's state holds it, or only the sequencer says so; ``None`` for what isn't the sequencer's to tell."""
    proven_nano: int = 0
    """How much of it L1's state holds."""
    batch_id: int | None = None
    """The batch whose state it was held against."""
    ready_at_s: int | None = None
    """When it can be had: a close's or an expiry's end on L2, a withdrawal's window on L1."""
    channel_id: int | None = None
    peer: str = ""
    """The other side's checksummed address, for channels."""
    l2_tx: str = ""
    """The transaction that started a withdrawal."""
    claim: ClaimState | None = None
    """Who is to claim a withdrawal, and when."""


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


_FIRST = "In the wallet, on L2"


def build_timeline(
    address: bytes,
    accounts: Sequence[tuple[AccountView, Judgement]],
    channels: Sequence[ChannelView],
    withdrawals: Sequence[WithdrawalView],
    *,
    signed_nano: Mapping[int, int],
    vouchers_nano: Mapping[int, int],
    l1_nano: int | None,
    sold: Collection[str] = (),
) -> MoneyTimeline:
    """Put every amount into its place.

    Args:
        address: The wallet's.
        accounts: Its L2 accounts by number, with what L1 says; a deposit without a number may have made a second one.
        channels: Its channels, either side.
        withdrawals: Withdrawals to its address.
        signed_nano: What was signed away on channels it pays into, by channel.
        vouchers_nano: The best vouchers' cumulatives on channels it is paid from, by channel.
        l1_nano: What it holds on L1; ``None`` if that could not be read.
        sold: The transactions of withdrawals whose claim is another's by now: its price is on L1, and counted there.
    """
    me = checksum_address(address)
    entries = [
        MoneyEntry(
            place="wallet",
            amount_nano=view.balance_nano,
            label=f"In account {view.index}, on L2 too; `wallet merge`, or spending it, joins it" if place else _FIRST,
            trust=judgement.trust,
            proven_nano=judgement.proven_nano,
            batch_id=judgement.batch_id,
        )
        for place, (view, judgement) in enumerate(accounts)
        if place == 0 or view.balance_nano
    ] or [MoneyEntry(place="wallet", amount_nano=0, label=_FIRST)]
    entries += [entry for view, _ in accounts for entry in _staked(view)]
    for channel in sorted(channels, key=lambda view: view.channel_id):
        if channel.payer == me:
            entries.append(_paying(channel, signed_nano.get(channel.channel_id, 0)))
        if channel.payee == me:
            entries.append(_paid(channel, vouchers_nano.get(channel.channel_id, 0)))
    entries += [
        _withdrawing(view, is_sold=view.l2_tx in sold)
        for view in withdrawals
        if view.claim_l1_tx is None or view.l2_tx in sold
    ]
    if l1_nano is not None:
        entries.append(MoneyEntry(place="l1", amount_nano=l1_nano, label="On L1"))
    return MoneyTimeline(address=me, entries=tuple(entries))


def _staked(view: AccountView) -> list[MoneyEntry]:
    entries = []
    if view.stake_nano:
        entries.append(MoneyEntry(place="stake", amount_nano=view.stake_nano, label="Staked behind receipts"))
    if view.unlocking_nano:
        leaving = MoneyEntry(
            place="stake",
            amount_nano=view.unlocking_nano,
            label="On its way out of the stake",
            ready_at_s=view.unlock_at_s,
        )
        entries.append(leaving)
    return entries


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


def _withdrawing(view: WithdrawalView, *, is_sold: bool) -> MoneyEntry:
    label, claim = f"Withdrawal {view.withdrawal_index}, on its way to L1", _claim(view, is_sold=is_sold)
    if claim == "sold":
        label = f"Withdrawal {view.withdrawal_index} of {format_usd(view.amount_nano)}: sold, and paid on L1"
    elif claim == "claimable":
        who = "the operator claims it" if view.is_paid_by_operator else "`wallet claim` claims it"
        label = f"Withdrawal {view.withdrawal_index}, final: {who}"
    return MoneyEntry(
        place="withdrawing",
        amount_nano=0 if claim == "sold" else view.amount_nano,
        label=label,
        inclusion=view.inclusion,
        ready_at_s=view.final_at_s,
        l2_tx=view.l2_tx,
        claim=claim,
    )


def _claim(view: WithdrawalView, *, is_sold: bool) -> ClaimState:
    if is_sold:
        return "sold"
    return "claimable" if view.inclusion is Inclusion.FINAL else "waiting"
