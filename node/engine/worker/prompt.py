"""From a conversation to tokens, so that nothing a user typed becomes a control token.

Ordinary text is rendered and tokenized in one piece, as other servers do. A message that holds the text of a control
token, or could complete one with the template's text beside it, is put in afterwards: a mark stands for it in the
template, the template's text is tokenized with control tokens, and the message without.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Protocol

from cachetools import LRUCache

from node.engine.protocol import EngineError
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage

COUNTED_KEPT = 8
"""Conversations whose tokens wait for the question that follows their count."""


class PromptTokenizer(Protocol):
    """What this module needs from a vocabulary."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text; control tokens are recognized only if `special`."""
        ...

    @property
    def leading_tokens(self) -> list[int]:
        """What the model expects before every text: the BOS token, or nothing."""
        ...


class ControlTextGuard:
    """Finds messages whose text could be read as a control token.

    Args:
        control_texts: The text of each control token of the vocabulary.
    """

    def __init__(self, control_texts: Sequence[str]) -> None:
        texts = sorted({text for text in control_texts if text}, key=len, reverse=True)
        self._inside = re.compile("|".join(map(re.escape, texts))) if texts else None
        self._beginnings = frozenset(text[:end] for text in texts for end in range(1, len(text)))
        self._endings = frozenset(text[start:] for text in texts for start in range(1, len(text)))
        self._longest = len(texts[0]) - 1 if texts else 0

    def is_risky(self, content: str) -> bool:
        """Whether a control token could overlap this text, wherever a template puts it."""
        if self._inside is None:
            return False
        if self._inside.search(content):
            return True
        longest = min(self._longest, len(content))
        return any(
            content[-length:] in self._beginnings or content[:length] in self._endings
            for length in range(1, longest + 1)
        )


class PromptBuilder:
    """Builds the tokens of a conversation with one model's template and vocabulary."""

    def __init__(self, template: ChatTemplate, tokenizer: PromptTokenizer, guard: ControlTextGuard) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._guard = guard
        self._counted: LRUCache[tuple[ChatMessage, ...], list[int]] = LRUCache(COUNTED_KEPT)
        self.thinking = template.thinking()
        """What the model puts around its thinking, if it thinks."""

    def count(self, messages: Sequence[ChatMessage]) -> int:
        """How many tokens the conversation has; the question usually follows its count, so they are kept for that.

        Raises:
            EngineError: With code ``bad_request`` if the template can't take it.
        """
        tokens = self._counted[tuple(messages)] = self.tokens(messages)
        return len(tokens)

    def tokens(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Tokens of the whole conversation, ready for the answer to follow.

        Raises:
            EngineError: With code ``bad_request`` if the template can't take it.
        """
        counted = self._counted.pop(tuple(messages), None)
        return self._made(messages) if counted is None else counted

    def _made(self, messages: Sequence[ChatMessage]) -> list[int]:
        risky = {index for index, message in enumerate(messages) if self._guard.is_risky(message.content)}
        if risky:
            tokens = self._tokens_around(messages, risky)
        else:
            rendered = self._template.render([{"role": m.role, "content": m.content} for m in messages])
            tokens = self._tokenizer.tokenize(rendered, special=True)
        leading = self._tokenizer.leading_tokens
        return tokens if tokens[: len(leading)] == leading else leading + tokens

    def _tokens_around(self, messages: Sequence[ChatMessage], risky: set[int]) -> list[int]:
        nonce = secrets.token_hex(8)
        contents: list[str] = []
        shown: list[dict[str, str]] = []
        for index, message in enumerate(messages):
            content = message.content
            core = content.strip()
            if index in risky:
                before, _, after = content.partition(core) if core else (content, "", "")
                # White space stays outside the mark, so that a template may trim it.
                content = f"{before}\ufdd0{nonce}:{index}\ufdd1{after}"
            contents.append(core)
            shown.append({"role": message.role, "content": content})
        pieces = re.split(f"\ufdd0{nonce}:([0-9]+)\ufdd1", self._template.render(shown))
        if not risky <= {int(index) for index in pieces[1::2]}:
            raise EngineError(
                "The model's chat template changes the text of messages, and this conversation holds control tokens.",
                code="bad_request",
                fix="Leave them out.",
            )
        tokens: list[int] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                tokens += self._tokenizer.tokenize(contents[int(piece)], special=False)
            elif piece:
                tokens += self._tokenizer.tokenize(piece, special=True)
        return tokens
