"""Asks a node one question and waits for its end; shared by the commands that ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chain.errors import IdlewattError
from node.api import NodeApi
from node.values import (
    AnswerEnding,
    ChatDelta,
    ChatDone,
    ChatEvent,
    ChatFailed,
    ChatQuote,
    ChatTurn,
    ending_of,
    format_usd,
)


@dataclass(slots=True)
class Heard:
    """What came of an answer so far; it stays when the answer fails or is stopped, since it is paid."""

    quote: ChatQuote | None = None
    done: ChatDone | None = None
    failed: ChatFailed | None = None
    output_tokens: int = 0
    spent_nano: int = 0
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _output: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The answer as the model wrote it."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """The thinking of a reasoning model before the answer."""
        return "".join(self._thinking)

    @property
    def output(self) -> str:
        """All that the model wrote, thinking and its markers included: what the receipt's ``output_hash`` is of."""
        return "".join(self._output)

    @property
    def ending(self) -> AnswerEnding:
        """How it ended; an answer without an end was stopped."""
        return ending_of(
            self.done.reason if self.done else "failed" if self.failed else "cancelled",
            text=self.text,
            output_tokens=self.output_tokens,
            max_output_tokens=self.quote.max_output_tokens if self.quote else 0,
            limited_by=self.quote.limited_by if self.quote else None,
            thought=bool(self.thinking.strip()),
        )

    def take(self, event: ChatEvent) -> None:
        """Add one event."""
        match event:
            case ChatQuote():
                self.quote = event
            case ChatDelta():
                self.output_tokens, self.spent_nano = event.output_tokens, event.spent_nano
                self._output += (event.markers, event.text)
                (self._thinking if event.thinking else self._text).append(event.text)
            case ChatFailed():
                self.failed, self.spent_nano = event, event.cost_nano
            case ChatDone():
                self.done = event
                self.output_tokens, self.spent_nano = event.output_tokens, event.cost_nano
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to its end, what was quoted for it, and how it ended."""

    text: str
    quote: ChatQuote
    done: ChatDone
    ending: AnswerEnding
    thinking: str = ""
    """The thinking of a reasoning model before the answer."""


async def answered(
    node: NodeApi, turn: ChatTurn, on_event: Callable[[ChatEvent], None], heard: Heard | None = None
) -> Answered:
    """Ask one turn, and tell of every event as it comes.

    Args:
        node: The node that asks.
        turn: The question.
        on_event: Told of every event.
        heard: Where to keep what comes, for a caller that needs it also when the answer breaks off.

    Raises:
        IdlewattError: If the answer failed; its line says what was paid for the part that arrived.
    """
    heard = heard or Heard()
    async with node.chat(turn) as events:
        async for event in events:
            heard.take(event)
            on_event(event)
            match event:
                case ChatFailed():
                    paid = f" {format_usd(event.cost_nano)} was paid for what arrived." if event.cost_nano else ""
                    raise IdlewattError(event.message + paid, fix=event.fix, peer_code=event.code)
                case ChatDone():
                    assert heard.quote is not None
                    return Answered(heard.text, heard.quote, event, heard.ending, heard.thinking)
                case _:
                    pass
    raise IdlewattError("The answer ended without a receipt.", code="no_receipt", fix="Try again.")
