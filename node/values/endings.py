"""How an answer ended before its model had said all, and what that is called."""

from __future__ import annotations

from typing import Literal

import msgspec

AnswerLimit = Literal["max_tokens", "max_spend", "answer_budget", "deposit", "context"]
"""What bounds an answer's length: the limit that was asked for, the person's spending limit, what an answer without one
may cost, the channel's deposit, or the model's context."""

LIMIT_WORDS: dict[AnswerLimit, str] = {
    "max_tokens": "that is the limit that was set",
    "max_spend": "the spending limit pays for no more",
    "answer_budget": "without a spending limit an answer may cost no more",
    "deposit": "the channel's deposit pays for no more",
    "context": "the model's context is full",
}


FinishReason = Literal["stop", "length", "cancelled", "failed"]
"""``stop`` is a whole answer, ``length`` one that was cut at a limit, ``cancelled`` the person's stop."""
REACHED_SHARE = 0.9
"""An answer with a smaller share of the tokens that it could have was cut by its provider, not by the limit."""


class AnswerEnding(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer ended, and if it is not whole, why."""

    reason: FinishReason
    output_tokens: int
    """Tokens that came and are billed, thinking included."""
    limited_by: AnswerLimit | None = None
    """For ``length``: what the limit was; None where the provider ended the answer before it."""
    is_empty: bool = False
    """Whether no text of an answer came."""
    thought: bool = False
    """Whether thinking came."""

    @property
    def words(self) -> str:
        """What to tell beside the answer, as one sentence; empty if the answer is whole."""
        tokens = f"{self.output_tokens} token" if self.output_tokens == 1 else f"{self.output_tokens} tokens"
        match self.reason:
            case "length":
                why = "the provider ended it there" if self.limited_by is None else LIMIT_WORDS[self.limited_by]
                if self.is_empty and self.thought:
                    return f"It thought to the limit and wrote no answer: {tokens} billed; {why}."
                return f"Cut at {tokens}: {why}."
            case "cancelled":
                return f"Stopped after {tokens}."
            case "failed":
                return f"Broken off after {tokens}."
            case _ if self.is_empty and self.thought:
                return f"It thought and wrote no answer: {tokens} billed."
            case _ if self.is_empty:
                return f"The answer is empty: {tokens} billed."
            case _:
                return ""


def ending_of(
    reason: FinishReason,
    *,
    text: str,
    output_tokens: int,
    max_output_tokens: int,
    limited_by: AnswerLimit | None,
    thought: bool,
) -> AnswerEnding:
    """The ending of an answer.

    Args:
        reason: How it ended.
        text: The answer, without thinking.
        output_tokens: Tokens that came.
        max_output_tokens: Tokens that the quote allowed.
        limited_by: Why the quote allowed no more.
        thought: Whether thinking came.
    """
    reached = output_tokens >= REACHED_SHARE * max_output_tokens
    return AnswerEnding(
        reason=reason,
        output_tokens=output_tokens,
        limited_by=limited_by if reason == "length" and reached else None,
        is_empty=not text.strip(),
        thought=thought,
    )


class SavedEnding(msgspec.Struct, frozen=True):
    """The ending of one answer of a saved conversation."""

    message: int
    """The answer's place among the conversation's messages."""
    ending: AnswerEnding
