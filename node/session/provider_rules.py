"""What the provider refuses and why: pure rules about requests, channels and vouchers."""

from __future__ import annotations

from typing import Final

from chain.errors import ErrorCode
from chain.views import Inclusion
from node.session import messages as m
from node.session.provider_state import ProviderPolicy, ProviderState
from node.session.terms import ChannelFacts, window_nano
from wallet.vouchers import Voucher, verify_voucher

Problem = tuple[ErrorCode, str, str]
"""A refusal: its code, its message and its fix."""

_ACCEPTED: Final = {
    Inclusion.SOFT: frozenset({Inclusion.SOFT, Inclusion.BATCHED, Inclusion.FINAL}),
    Inclusion.BATCHED: frozenset({Inclusion.BATCHED, Inclusion.FINAL}),
    Inclusion.FINAL: frozenset({Inclusion.FINAL}),
}
WRITTEN_OFF_WINDOWS: Final = 4
"""How many credit windows one channel may leave unpaid, in all its requests together, before it gets no more credit."""

BUYER_REFUSALS: Final = frozenset(
    {
        "price_changed",
        "spend_limit",
        "overbilled",
        "deposit_too_small",
        "out_of_step",
        "bad_receipt",
        "model_unaudited",
        "stake_too_low",
        "reputation_too_low",
    }
)
"""The reasons that a buyer may give when it refuses a quote; any other word counts as no reason."""


def ask_problem(policy: ProviderPolicy, ask: m.Ask) -> Problem | None:
    """Why a request is refused before its channel is checked; ``None`` if it isn't."""
    if ask.version != m.PROTOCOL_VERSION:
        return "version", f"This provider speaks version {m.PROTOCOL_VERSION}.", "Update Idlewatt."
    if ask.model_sha256 != policy.model_sha256:
        return "model_changed", "This provider now serves another model.", "Refresh the market."
    if (
        ask.prices.input_nano_per_mtok < policy.prices.input_nano_per_mtok
        or ask.prices.output_nano_per_mtok < policy.prices.output_nano_per_mtok
    ):
        return "price_changed", "The price is higher than that offer said.", "Refresh the market."
    return None


def channel_problem(state: ProviderState, facts: ChannelFacts) -> Problem | None:
    """Why a channel can't be used for what the session was opened for; ``None`` if it can."""
    policy = state.policy
    if facts.payee != policy.account:
        return "not_my_channel", "That channel pays somebody else.", "Open a channel with this provider."
    if state.ask is None:
        return None
    if facts.inclusion not in _ACCEPTED.get(policy.accept, frozenset()):
        return "unconfirmed", "The channel's deposit is not confirmed yet.", "Ask again in a moment."
    if facts.closing_at_s:
        return "channel_closing", "That channel is closing.", "Open another one."
    if facts.now_s + policy.expiry_margin_s >= facts.expiry_s:
        return "channel_expiring", "That channel expires too soon.", "Open another one."
    if facts.deposit_nano < policy.min_deposit_nano:
        return "deposit_too_small", "The deposit is below this provider's minimum.", "Top the channel up."
    if facts.written_off_nano > WRITTEN_OFF_WINDOWS * window_nano(policy.prices, 0, policy.credit_tokens):
        return "unpaid", "Too much on that channel was delivered and never paid.", "Open another channel."
    return None


def voucher_problem(state: ProviderState, voucher: Voucher) -> Problem | None:
    """Why a voucher is worth nothing here; ``None`` if it is good."""
    facts = state.channel
    if facts is None or voucher.channel_id != facts.channel_id:
        return "foreign_voucher", "That voucher belongs to another channel.", "Sign one for this channel."
    if voucher.cumulative_nano > facts.deposit_nano:
        return "over_deposit", "That voucher promises more than the deposit holds.", "Top the channel up."
    if voucher.cumulative_nano > state.seen_nano and not verify_voucher(state.policy.domain, voucher, facts.signer):
        return "bad_voucher", "That voucher is not signed by the channel's voucher key.", ""
    return None
