"""The records of the store: frozen values of bytes and integers.

Addresses are 20 bytes, amounts nano, times milliseconds UTC unless a name says otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

Role = Literal["buyer", "provider"]


class ChannelState(StrEnum):
    """The state of a channel; it only moves on in this order."""

    OPENING = "opening"
    """Written down before the opening was submitted; the channel's number is not known yet."""
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    """The chain refused the opening: it never held money."""


class BuyerChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that this home pays through."""

    deployment: str
    channel_id: int | None
    """``None`` while opening."""
    provider: bytes
    signer: bytes
    """The voucher key's address. It is unique within a deployment, so an opening can be found again after a crash."""
    salt: bytes
    """What the voucher key was derived from (``UnlockedAccount.derive_voucher_key``)."""
    deposit_nano: int
    signed_nano: int
    """The highest cumulative that may have been signed; never lowered, never above the deposit."""
    redeemed_nano: int
    """What the chain has paid out, as far as this home has seen it."""
    expiry_s: int
    state: ChannelState
    opened_at_ms: int

    @property
    def unsigned_nano(self) -> int:
        """What is left to spend through this channel."""
        return self.deposit_nano - self.signed_nano


class ProviderChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that this home is paid through."""

    deployment: str
    channel_id: int
    payer: bytes
    signer: bytes
    deposit_nano: int
    expiry_s: int
    voucher_nano: int
    """The best voucher's cumulative; 0 before the first."""
    voucher_signature: bytes
    """64 bytes, or empty before the first voucher."""
    charged_nano: int
    """The price of everything delivered, paid or not; a new session continues from here."""
    redeemed_nano: int
    """What the chain has paid out."""
    state: ChannelState
    opened_at_ms: int

    @property
    def claimable_nano(self) -> int:
        """What redeeming the best voucher would pay now."""
        return max(0, self.voucher_nano - self.redeemed_nano)


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request in the history, seen from one side."""

    job_id: str
    role: Role
    model: str
    peer: bytes
    """The other side's account address."""
    started_ms: int
    finished_ms: int | None = None
    """``None`` while it runs."""
    input_tokens: int = 0
    output_tokens: int = 0
    amount_nano: int = 0
    """What it cost the buyer, or earned the provider."""
    finish_reason: str = ""
    error_code: str = ""
    tokens_per_s: float = 0.0
    channel_id: int | None = None
    sequence: int | None = None
    """The receipt's number within the channel."""


class JobTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the finished jobs of one role."""

    jobs: int
    failed: int
    """Jobs that ended with an error code."""
    input_tokens: int
    output_tokens: int
    amount_nano: int


class JobEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """The energy that one job took from one device."""

    device: str
    energy_mj: int
    """Millijoules above what the device takes when idle."""
    cost_nano: int
    earned_nano: int
    """This device's part of what the job earned; the parts of all its devices add up to it."""
    is_estimate: bool


class NetTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The earnings and the energy cost of some jobs."""

    name: str
    """The hour's or day's beginning in milliseconds UTC, the model, or the device."""
    jobs: int
    output_tokens: int
    earned_nano: int
    energy_mj: int
    cost_nano: int
    is_estimate: bool
    """Whether any part of the energy is estimated."""
    unmeasured_jobs: int
    """Jobs whose energy is not known; it counts as zero."""

    @property
    def net_nano(self) -> int:
        """Earnings less cost; may be below zero."""
        return self.earned_nano - self.cost_nano


class ForeignDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """An archived deployment: a chain that this home used before, and how many channels it has there."""

    deployment: str
    archived_at_ms: int
    buyer_channels: int
    provider_channels: int
