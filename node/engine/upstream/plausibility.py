"""Whether a count of prompt tokens can be that of the whole prompt; pure.

A server that drops what doesn't fit counts what is left. No bound on a token's bytes finds that out: the longest tokens
of real vocabularies have 512 bytes (runs of spaces; aquila, command-r, gpt-neox). Without runs they have at most 64
characters, and ordinary text of any language has fewer than six a token on average. So what has more is looked at again
by its halves: tokens of the parts add up to those of the whole, whatever the vocabulary.
"""

from __future__ import annotations

import re
from typing import Final

from node.values.inference import ChatMessage

MOST_CHARS_PER_TOKEN: Final = 6
_LEAST_CHARS: Final = 1_000
"""What is shorter fits into any context."""
_SHARE: Final = 0.9
_SLACK_TOKENS: Final = 64
"""What the template and the cut may add to the halves."""
_RUN: Final = re.compile(r"(\s)\s+|(.)\2+", re.DOTALL)
_THOUGHT: Final = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
"""Templates leave out what a model thought in earlier turns, and rightly so."""


def kept_text(message: ChatMessage) -> str:
    """What of a message every template keeps and every vocabulary needs tokens for: runs count once."""
    content = _THOUGHT.sub("", message.content) if message.role == "assistant" else message.content
    return _RUN.sub(r"\1\2", content).strip()


def kept_chars(messages: tuple[ChatMessage, ...]) -> int:
    """Characters of a conversation that need tokens."""
    return sum(len(kept_text(message)) for message in messages)


def is_near(chars: int, held_tokens: int) -> bool:
    """Whether a conversation may have more tokens than its server was seen to hold, and so may have been cut to fit."""
    return chars > max(_LEAST_CHARS, MOST_CHARS_PER_TOKEN * held_tokens // 2)


def is_dense(chars: int, counted: int) -> bool:
    """Whether a conversation has more characters a token than text has."""
    return chars > max(_LEAST_CHARS, MOST_CHARS_PER_TOKEN * counted)


def halves(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ChatMessage]:
    """The conversation's text in two messages, cut in the middle between two words."""
    text = "\n".join(kept_text(message) for message in messages)
    middle = len(text) // 2
    cut = text.find(" ", middle, middle + 200)
    cut = middle if cut < 0 else cut
    return ChatMessage("user", text[:cut]), ChatMessage("user", text[cut:])


def is_cut(whole: int, *parts: int) -> bool:
    """Whether a whole of so many tokens lacks something of its parts."""
    return whole < _SHARE * sum(parts) - _SLACK_TOKENS
