"""How much a channel must hold for a request: an estimate from the prompt's bytes, then the provider's own count."""

from __future__ import annotations

from typing import Final

import msgspec

from chain.money import format_usd
from node.market.offers import Offer
from node.pricing import cost_nano
from node.session import buyer_io as io
from node.session import messages as m
from node.session.terms import bill_nano, most_input_tokens
from node.values import ChatTurn, OfferView
from node.values.endings import AnswerLimit
from node.values.inference import content_bytes
from wallet.wallet_error import WalletError

BYTES_PER_TOKEN: Final = 2
"""What the estimate takes for a token. Text in Chinese, Japanese or Korean, and code, can have fewer bytes a token."""
TEMPLATE_TOKENS: Final = 64
REQUESTS_PER_DEPOSIT: Final = 50
"""A deposit lasts for about this many requests like the first, so that the opening fee is a small part."""
LEAST_DEPOSIT_NANO: Final = 10_000_000
UNASKED_DEPOSIT_NANO: Final = 1_000_000_000
"""The most that a channel is given for a provider's minimum alone, where the person set no limit."""
USUAL_ANSWER_TOKENS: Final = 512
"""The length of answer that deposits are reckoned by where the person set no limit."""
ROOMY_ANSWER_TOKENS: Final = 4_096
"""Where the person set no limit, a channel with less room than this is topped up, so that few answers are cut."""


class ChannelNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What a request needs of a channel."""

    provider: bytes
    """The payee's address, 20 bytes."""
    ceiling_nano: int
    """The most that the request can cost; without a limit on its answer, what it costs with a usual one."""
    room_nano: int = 0
    """What it costs with ``output_tokens`` of answer: a channel that holds less than that is topped up."""
    output_tokens: int
    """The length of answer that the channel should have room for."""
    least_nano: int
    """Less than this pays for no answer at all: known once a provider counted the prompt, else zero."""
    min_deposit_nano: int
    max_spend_nano: int | None
    """What the person's limit leaves for the answer and for the fee of a deposit."""
    covered_from: int = 0
    """The first channel that the provider's stake answers for; 0 where it shows none."""

    def for_offer(self, view: OfferView) -> ChannelNeed:
        """The same, with the channels that the stake shown beside an offer answers for."""
        return msgspec.structs.replace(self, covered_from=view.slash_from if view.stake_nano else 0)


def estimated_need(offer: Offer, turn: ChatTurn, max_spend_nano: int | None) -> ChannelNeed:
    """What a request is likely to need, before anybody counted its prompt.

    Args:
        offer: The offer that will be asked.
        turn: The request.
        max_spend_nano: What is left of the person's limit; None for no limit.
    """
    input_tokens = content_bytes(turn.messages) // BYTES_PER_TOKEN + TEMPLATE_TOKENS
    return _need(offer, turn, input_tokens, max_spend_nano, least_nano=0)


def counted_need(offer: Offer, turn: ChatTurn, refusal: io.Failed, max_spend_nano: int | None) -> ChannelNeed | None:
    """What the request needs by the count of a provider that found the deposit too small.

    A provider may claim any count. Believed is at most what the sent bytes allow, so a lie locks a bounded deposit; it
    never pays for anything, because the bill follows the quote and the buyer's own rules.

    Args:
        offer: The offer that was asked.
        turn: The request.
        refusal: The provider's refusal, or the buyer's own of a quote for too short an answer.
        max_spend_nano: What is left of the person's limit; None for no limit.

    Returns:
        The need; ``None`` if the refusal has another reason, which no deposit changes.
    """
    if refusal.code != "deposit_too_small":
        return None
    most = most_input_tokens(turn.messages, offer.template_tokens)
    input_tokens = min(refusal.input_tokens or most, most)
    return _need(offer, turn, input_tokens, max_spend_nano, least_nano=bill_nano(offer.prices, input_tokens, 1))


def over_the_limit(need: ChannelNeed) -> io.Failed | None:
    """Why the person's own limit forbids the request; ``None`` if it doesn't. No deposit would help then."""
    if need.max_spend_nano is None or need.least_nano <= need.max_spend_nano:
        return None
    left = format_usd(need.max_spend_nano)
    return io.Failed(
        "spend_limit",
        f"The prompt alone costs {format_usd(need.least_nano)}, more than the {left} that the limit leaves.",
        "Raise the spending limit, shorten the conversation, or choose a cheaper offer.",
    )


def wanted_output_tokens(need: ChannelNeed, unsigned_nano: int, max_spend_nano: int | None) -> int:
    """The length of answer below which a quote is a reason for a larger deposit.

    Args:
        need: What the request needs.
        unsigned_nano: What the channel has left.
        max_spend_nano: What the person's limit leaves for the answer; None for no limit.

    Returns:
        Tokens. Zero where a deposit was made by the provider's count already, or where the person's limit, and not the
        channel, bounds the answer.
    """
    is_limited = max_spend_nano is not None and max_spend_nano <= unsigned_nano
    return 0 if need.least_nano or is_limited else need.output_tokens


def answer_budget_nano(need: ChannelNeed, turn: ChatTurn, unsigned_nano: int, spendable_nano: int | None) -> int:
    """The most that an answer may cost.

    Without any limit of the person's, neither a provider that asks for a large deposit nor a model that never ends can
    bill more than a usual deposit: as much as ``REQUESTS_PER_DEPOSIT`` requests with usual answers.

    Args:
        need: What the request needs.
        turn: The request.
        unsigned_nano: What the channel has left.
        spendable_nano: What is left of the person's limit; None for no limit.
    """
    if spendable_nano is not None:
        return max(0, min(unsigned_nano, spendable_nano))
    if turn.max_tokens is not None:
        return unsigned_nano
    return min(unsigned_nano, max(LEAST_DEPOSIT_NANO, need.ceiling_nano * REQUESTS_PER_DEPOSIT))


def limit_of(ask: m.Ask, quote: m.Quote, turn: ChatTurn, unsigned_nano: int) -> AnswerLimit:
    """Why an answer can't be longer than its quote says.

    Args:
        ask: What was asked, with its budget.
        quote: The accepted quote.
        turn: The request as the person made it.
        unsigned_nano: What the channel has left.
    """
    if turn.max_tokens is not None and quote.max_output_tokens >= ask.max_tokens:
        return "max_tokens"
    if bill_nano(quote.prices, quote.input_tokens, quote.max_output_tokens + 1) <= ask.max_cost_nano:
        return "context"
    if ask.max_cost_nano >= unsigned_nano:
        return "deposit"
    return "answer_budget" if turn.max_spend_nano is None else "max_spend"


def deposit_for(need: ChannelNeed, *, missing_nano: int, required_nano: int, fee_nano: int, balance_nano: int) -> int:
    """How much to put into a channel: enough for many requests like this one, within the limit and the balance.

    Args:
        need: What the request needs.
        missing_nano: What the channel lacks for the request as it is estimated.
        required_nano: What it lacks so that the request is possible at all; zero or less if it is possible already.
        fee_nano: What the transaction costs.
        balance_nano: What the wallet holds.

    Returns:
        Nano. Zero: the request goes on without a deposit, since limit or balance don't allow one that helps. A result
        above the balance is for the wallet to refuse, which names what is missing.

    Raises:
        WalletError: ``spend_limit``.
    """
    wanted = max(missing_nano, required_nano, LEAST_DEPOSIT_NANO, need.ceiling_nano * REQUESTS_PER_DEPOSIT)
    if need.max_spend_nano is not None:
        room_nano = need.max_spend_nano - fee_nano
        if room_nano < required_nano:
            raise WalletError(
                f"The channel needs {format_usd(required_nano)} and a fee of {format_usd(fee_nano)}, more than the "
                f"limit of {format_usd(need.max_spend_nano)}.",
                code="spend_limit",
                fix="Raise the spending limit, or choose another offer.",
            )
        wanted = min(wanted, room_nano)
    elif required_nano > max(UNASKED_DEPOSIT_NANO, need.ceiling_nano * REQUESTS_PER_DEPOSIT):
        raise WalletError(
            f"This provider wants a deposit of {format_usd(required_nano)}, more than is locked without being asked.",
            code="spend_limit",
            fix="Allow it with a spending limit above it, or choose another offer.",
        )
    # A balance below the wish but above the need goes into the channel as a whole.
    amount_nano = max(required_nano, min(wanted, balance_nano - fee_nano))
    return amount_nano if required_nano > 0 or amount_nano >= missing_nano else 0


def _need(
    offer: Offer, turn: ChatTurn, input_tokens: int, max_spend_nano: int | None, *, least_nano: int
) -> ChannelNeed:
    longest = turn.max_tokens
    input_nano = cost_nano(input_tokens, offer.input_nano_per_mtok)
    usual_tokens = min(USUAL_ANSWER_TOKENS if longest is None else longest, offer.context_length)
    roomy_tokens = min(ROOMY_ANSWER_TOKENS if longest is None else longest, offer.context_length)
    return ChannelNeed(
        provider=offer.provider,
        ceiling_nano=input_nano + cost_nano(usual_tokens, offer.output_nano_per_mtok),
        room_nano=input_nano + cost_nano(roomy_tokens, offer.output_nano_per_mtok),
        output_tokens=roomy_tokens,
        least_nano=least_nano,
        min_deposit_nano=offer.min_deposit_nano,
        max_spend_nano=max_spend_nano,
    )
