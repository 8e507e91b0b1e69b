"""Asks a node one question and waits for its end; shared by the commands that ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chain.errors import IdlewattError
from node.api import NodeApi
from node.values import ChatDelta, ChatDone, ChatEvent, ChatFailed, ChatQuote, ChatTurn, format_usd


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer, what was quoted for it, and how it ended."""

    text: str
    quote: ChatQuote
    done: ChatDone
    thinking: str = ""
    """The thinking of a reasoning model before the answer."""


async def answered(node: NodeApi, turn: ChatTurn, on_event: Callable[[ChatEvent], None]) -> Answered:
    """Ask one turn, and tell of every event as it comes.

    Raises:
        IdlewattError: If the answer failed; its line says what was paid for the part that arrived.
    """
    text: list[str] = []
    thinking: list[str] = []
    quote: ChatQuote | None = None
    async with node.chat(turn) as events:
        async for event in events:
            on_event(event)
            match event:
                case ChatQuote():
                    quote = event
                case ChatDelta():
                    (thinking if event.thinking else text).append(event.text)
                case ChatFailed():
                    paid = f" {format_usd(event.cost_nano)} was paid for what arrived." if event.cost_nano else ""
                    raise IdlewattError(event.message + paid, fix=event.fix, peer_code=event.code)
                case ChatDone():
                    assert quote is not None
                    return Answered("".join(text), quote, event, "".join(thinking))
    raise IdlewattError("The answer ended without a receipt.", code="no_receipt", fix="Try again.")
