"""Choices for a picker: offers to ask, and saved chats."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from node.values import ChatSession, OfferView
from screens.dialogs import Choice
from screens.text import one_line, short_address, speed, usd

BEST_OFFER = "best"
MAX_TITLE_CHARS = 48


def session_choices(sessions: Sequence[ChatSession]) -> list[Choice]:
    """Saved chats by their titles."""
    return [
        Choice(session.session_id, Content(one_line(session.title, 70) or "untitled"), session.title)
        for session in sessions
    ]


def offer_choices(offers: Sequence[OfferView]) -> list[Choice]:
    """Every offer, and before them the node's own choice."""
    choices = [Choice(BEST_OFFER, Content("Best offer: the node chooses by price and speed"), "best offer")]
    choices += [
        Choice(offer.offer_id, offer_line(offer), f"{offer.model} {offer.provider} {offer.quantization}")
        for offer in offers
    ]
    return choices


def offer_line(offer: OfferView) -> Content:
    """One offer on one line."""
    return Content.assemble(
        (one_line(offer.model, 22).ljust(22), "bold"),
        f" {usd(offer.prices.input_nano_per_mtok)}/{usd(offer.prices.output_nano_per_mtok)} · "
        f"{speed(offer.tokens_per_s)} tok/s · {offer.free_slots}/{offer.slots} free ",
        (short_address(offer.provider), "dim"),
    )


def chat_title(question: str) -> str:
    """The beginning of a chat's first question on one line, as it was written; what draws it cleans it."""
    title = " ".join(question.split())
    return title if len(title) <= MAX_TITLE_CHARS else title[: MAX_TITLE_CHARS - 1] + "…"
