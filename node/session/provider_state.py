"""The policy and the state of the provider's side of one metered session."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from chain.eip712 import SigningDomain
from chain.views import Inclusion
from node.session import messages as m
from node.session import provider_io as io
from node.session.terms import DEFAULT_CREDIT_TOKENS, ChannelFacts, bill_nano, window_nano
from node.values import Prices
from node.values.inference import TokenLogprob

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPolicy:
    """What this provider offers and requires; constant during a session.

    Addresses have 20 bytes, the model's hash 32.
    """

    domain: SigningDomain
    account: bytes
    model_sha256: bytes
    context_length: int
    prices: Prices
    credit_tokens: int = DEFAULT_CREDIT_TOKENS
    min_deposit_nano: int = 0
    expiry_margin_s: int = 600
    """A channel that expires within this time gets no new request, since its vouchers must be redeemed before."""
    accept: Inclusion = Inclusion.SOFT
    """How final a channel's opening must be on the rollup before the provider gives credit on it."""


class Stage(StrEnum):
    """Where the session stands."""

    IDLE = "idle"
    CHECKING = "checking"
    COUNTING = "counting"
    RUNNING = "running"
    RECEIPTING = "receipting"
    SETTLING = "settling"
    ENDED = "ended"


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a session knows; made by ``provider.start``, replaced by ``provider.step``.

    It is a struct because each piece of text replaces it three times. A dataclass of this size takes thirty times as
    long to replace.
    """

    policy: ProviderPolicy
    stage: Stage = Stage.IDLE
    ask: m.Ask | None = None
    first: m.Pay | m.CloseRequest | None = None
    """The message that opened the session, where that was not an ``Ask``."""
    channel: ChannelFacts | None = None
    seen_nano: int = 0
    """The highest verified voucher, on disk or on its way there."""
    paid_nano: int = 0
    """The highest voucher on disk."""
    base_nano: int = 0
    """What vouchers promised before this request."""
    input_tokens: int = 0
    max_output_tokens: int = 0
    output_tokens: int = 0
    output_bytes: int = 0
    output_hash: _Hash = msgspec.field(default_factory=hashlib.sha256)
    seed: int = 0
    started_ms: int = 0
    pending_text: str = ""
    pending_tokens: int = 0
    pending_thinking: bool = False
    pending_marker: bool = False
    pending_logprobs: tuple[TokenLogprob, ...] = ()
    is_queued: bool = False
    """Whether the buyer still waits for a slot, and was told so."""
    stalled: bool = False
    """Whether text waits for a voucher, and the buyer was told so."""
    ended: io.EngineEnded | None = None
    cancelled: bool = False

    @property
    def bill_nano(self) -> int:
        """What the delivered tokens cost."""
        return bill_nano(self.policy.prices, self.input_tokens, self.output_tokens)

    @property
    def owed_nano(self) -> int:
        """The cumulative amount that a voucher must reach to pay for everything delivered."""
        return self.base_nano + self.bill_nano

    @property
    def exposure_nano(self) -> int:
        """What was delivered and is not paid, in nano."""
        return max(0, self.owed_nano - self.paid_nano)

    @property
    def window_nano(self) -> int:
        """The limit of ``exposure_nano``."""
        return window_nano(self.policy.prices, self.input_tokens, self.policy.credit_tokens)

    @property
    def awaits_payment(self) -> bool:
        """Whether the timer of the last ``AwaitPayment`` still counts; a partial payment does not restart it."""
        return self.stalled or self.stage is Stage.SETTLING

    @property
    def wants_chunks(self) -> bool:
        """Whether the shell may read more from the engine; ``False`` while text waits for a voucher."""
        return self.stage is Stage.RUNNING and not self.pending_text and not self.pending_tokens and self.ended is None


Step = tuple[ProviderState, tuple[io.Action, ...]]
