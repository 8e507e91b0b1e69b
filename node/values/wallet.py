"""A wallet of this node: where its money is, its channels, and what its stake stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from chain.views import Inclusion
from wallet.money import ClaimState
from wallet.trust import Trust


class WalletState(StrEnum):
    """Whether a wallet exists and can sign."""

    NONE = "none"
    LOCKED = "locked"
    UNLOCKED = "unlocked"


class MoneyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One place where money is: on L2, in a channel, claimable, on its way, on L1."""

    place: Literal["wallet", "stake", "channel", "claimable", "withdrawing", "l1"]
    label: str
    amount_nano: int
    inclusion: Inclusion | None = None
    ready_at_s: int | None = None
    reference: str = ""
    trust: Trust | None = None
    """``proven`` where a batch on L1 holds exactly this, ``soft`` where the sequencer's word is all there is."""
    proven_nano: int = 0
    """How much of it the newest batch on L1 holds."""
    batch_id: int | None = None
    """That batch."""
    claim: ClaimState | None = None
    """Of a withdrawal: ``waiting`` for its batch to be final, ``claimable``, or ``sold`` and paid on L1 already."""


class MoneyView(msgspec.Struct, frozen=True, kw_only=True):
    """Where all of one wallet's money is."""

    lines: tuple[MoneyLine, ...]
    total_nano: int


class WalletView(msgspec.Struct, frozen=True, kw_only=True):
    """One wallet of this node; the demo has two, one a side."""

    wallet_id: str
    """``main``, or ``seller`` and ``buyer`` in the demo; names the wallet in every wallet call."""
    label: str
    state: WalletState
    address: str
    balance_nano: int | None
    money: MoneyView | None
    backed_up: bool
    stake_nano: int = 0
    """What stands behind the receipts that it signs."""
    unlocking_nano: int = 0
    """The part of a stake on its way out; slashable until it is back in the balance."""
    unlock_at_s: int = 0


class MergeView(msgspec.Struct, frozen=True, kw_only=True):
    """What was brought together from several accounts of one wallet."""

    accounts: tuple[int, ...]
    """The numbers of those that were emptied."""
    moved_nano: int
    fees_nano: int
    l2_txs: tuple[str, ...]


class SlashView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that lost its stake for two receipts that contradict each other."""

    provider: str
    channel_id: int
    sequence: int
    reward_nano: int
    """What this wallet got: half of the stake."""
    l2_tx: str


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of ours, from either side."""

    channel_id: int
    role: Literal["provider", "buyer"]
    peer: str
    state: Literal["opening", "open", "closing", "closed", "foreign"]
    deposit_nano: int
    spent_nano: int
    """Signed (buyer) or held in the best voucher (provider)."""
    redeemed_nano: int
    expiry_s: int
    closing_at_s: int
