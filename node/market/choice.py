"""Which offer to take: a pure ranking by price, speed and free slots, and a clear reason when none fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from chain.errors import IdlewattError
from node.pricing import cost_nano
from node.values import ChatTurn, OfferView
from node.values.text import plain

TYPICAL_INPUT_TOKENS: Final = 500
TYPICAL_OUTPUT_TOKENS: Final = 500
"""Prices are compared by a request of this size."""
UNMEASURED_TOKENS_PER_S: Final = 5.0
"""The assumed speed of an offer without a measurement."""
SHORT_ID_CHARS: Final = 12
"""How much of an offer's id tables show, and the least that stands for all of it."""

REASONS: Final[Mapping[str, str]] = {
    "malformed": "could not be read",
    "node_mismatch": "were published by another node",
    "foreign_chain": "want to be paid on another chain",
    "expired": "have expired",
    "bad_validity": "claim an impossible validity",
    "bad_signature": "carry a bad signature",
    "unfunded": "have no account on this chain",
    "overstated": "claim more stake than the chain holds",
    "other_model": "serve another model",
    "full": "have no free slot",
    "too_small": "have too little context",
    "no_chat": "only continue texts, and answer no questions",
    "one_question": "answer single questions only",
    "no_option": "can't be told whether or how much to think",
    "failed": "failed just now",
}


class NoOfferError(IdlewattError):
    """No offer on the market fits."""

    default_code = "no_offer"


def typical_cost_nano(offer: OfferView) -> int:
    """What a typical request costs at this offer's prices, in nano."""
    return cost_nano(TYPICAL_INPUT_TOKENS + offer.template_tokens, offer.prices.input_nano_per_mtok) + cost_nano(
        TYPICAL_OUTPUT_TOKENS, offer.prices.output_nano_per_mtok
    )


def rank(offers: Iterable[OfferView]) -> tuple[OfferView, ...]:
    """The offers, best first: those with a free slot, then by price times expected duration, then by stake, then by id.

    With price times duration, twice the speed is worth twice the price.
    """

    def key(offer: OfferView) -> tuple[bool, float, int, str]:
        seconds = offer.ttft_ms / 1000 + TYPICAL_OUTPUT_TOKENS / (offer.tokens_per_s or UNMEASURED_TOKENS_PER_S)
        return offer.free_slots == 0, (typical_cost_nano(offer) + 1) * seconds, -offer.stake_nano, offer.offer_id

    return tuple(sorted(offers, key=key))


def candidates(
    offers: Sequence[OfferView],
    *,
    model: str = "",
    offer_id: str = "",
    context_tokens: int = 0,
    needs: frozenset[str] = frozenset(),
    failed: frozenset[str] = frozenset(),
    unusable: Mapping[str, int] | None = None,
) -> tuple[OfferView, ...]:
    """The offers that fit, best first, never empty.

    Args:
        offers: Verified offers.
        model: The model's name, in upper or lower case; empty for any model.
        offer_id: The id of one particular offer, or a beginning of it that no other offer has; empty for any offer.
        context_tokens: How many tokens of context the conversation needs.
        needs: What is asked of the model (`needs_of`). An offer that was named may also be one that continues texts.
        failed: The ids of offers that have failed in this turn.
        unusable: How many offers failed verification, by reason, for the error's text.

    Raises:
        NoOfferError: ``no_offer``, ``unknown_model`` or ``offer_gone``, saying why each offer does not fit.
    """
    offer_id = _whole_id(offers, offer_id)
    reasons: Counter[str] = Counter(unusable or {})
    fitting: list[OfferView] = []
    for offer in offers:
        reason = _misfit(offer, model, offer_id, context_tokens, failed) or _lack(
            offer, needs, is_named=bool(model or offer_id)
        )
        if reason:
            reasons[reason] += 1
        else:
            fitting.append(offer)
    if fitting:
        return rank(fitting)
    raise _nothing(offers, model, offer_id, reasons)


def _whole_id(offers: Sequence[OfferView], given: str) -> str:
    """The id of the one offer that begins as given, else what was given.

    Raises:
        NoOfferError: ``no_offer`` if several begin so: ids can be ground to resemble another's.
    """
    begun = [offer.offer_id for offer in offers if offer.offer_id.startswith(given)]
    if len(given) < SHORT_ID_CHARS or given in begun or not begun:
        return given
    if len(begun) > 1:
        raise NoOfferError(
            f"{len(begun)} offers begin with {plain(given, 96)}.",
            fix="Write the whole id, from idlewatt market --json.",
        )
    return begun[0]


def _misfit(offer: OfferView, model: str, offer_id: str, context_tokens: int, failed: frozenset[str]) -> str:
    if offer_id and offer.offer_id != offer_id:
        return "other_offer"
    if model and offer.model.casefold() != model.casefold():
        return "other_model"
    if offer.offer_id in failed:
        return "failed"
    if offer.context_length < context_tokens:
        return "too_small"
    return ""


def needs_of(turn: ChatTurn) -> frozenset[str]:
    """The abilities that a turn asks of a model."""
    needs = {"chat"}
    if sum(message.role == "user" for message in turn.messages) > 1:
        needs.add("turns")
    if turn.template_options.enable_thinking is not None:
        needs.add("enable_thinking")
    if turn.template_options.reasoning_effort is not None:
        needs.add("reasoning_effort")
    return frozenset(needs)


def _lack(offer: OfferView, needs: frozenset[str], *, is_named: bool) -> str:
    """What a model can't do of what is asked, as a reason, or nothing."""
    lacking = needs.difference(offer.abilities)
    if is_named and "completion" in offer.abilities:
        lacking -= {"chat", "turns"}
    if "chat" in lacking:
        return "no_chat"
    if "turns" in lacking:
        return "one_question"
    return "no_option" if lacking else ""


def _nothing(offers: Sequence[OfferView], model: str, offer_id: str, reasons: Counter[str]) -> NoOfferError:
    if offer_id and all(offer.offer_id != offer_id for offer in offers) and reasons["other_offer"]:
        return NoOfferError("That offer is no longer on the market.", code="offer_gone", fix="Choose another offer.")
    if model and reasons["other_model"] == len(offers) > 0:
        names = ", ".join(sorted({offer.model for offer in offers})[:8])
        return NoOfferError(
            f"Nobody rents out the model {plain(model, 96)!r}; on the market: {names}.",
            code="unknown_model",
            fix="Ask for one of these.",
        )
    told = [f"{count} {REASONS[reason]}" for reason, count in sorted(reasons.items()) if reason in REASONS and count]
    if not told:
        return NoOfferError(
            "Nobody rents anything out on this relay.",
            fix="Wait for a provider, try another relay, or rent out a model yourself.",
        )
    return NoOfferError(f"No offer fits: {'; '.join(told)}.", fix="Wait for a provider, or ask for another model.")
