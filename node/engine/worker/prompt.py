"""From a conversation to tokens, so that nothing a user typed becomes a marker: a token that begins a turn, say.

A conversation that ends in the assistant's message is left open there, for the model to continue it.

Ordinary text is rendered and tokenized in one piece, as other servers do. Where a message holds the text of a marker,
or a part of one at its border, signs are put around it that the template doesn't know; the text between them is
tokenized apart and in parts. If the template changes it, a sign stands for the whole message in the template.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, Protocol

from cachetools import LRUCache

from node.engine.protocol import EngineError
from node.engine.worker.abilities import TemplateUse
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.template import ChatTemplate
from node.values.inference import NO_OPTIONS, ChatMessage, TemplateOptions

Render = Callable[[Sequence[ChatMessage]], str]
ANY_USE = TemplateUse()
COUNTED_KEPT = 8
"""Conversations whose tokens wait for the question that follows their count."""


class PromptTokenizer(Protocol):
    """What this module needs from a vocabulary."""

    def tokenize(self, text: str, *, special: bool, continues: bool = False) -> list[int]:
        """Tokens of a text, control tokens only if `special`; `continues` says that other text comes before it."""
        ...

    @property
    def leading_tokens(self) -> list[int]:
        """What the model expects before every text: the BOS token, or nothing."""
        ...


class PromptBuilder:
    """Builds the tokens of a conversation with one model's template and vocabulary.

    Args:
        template: The model's chat template.
        tokenizer: Its vocabulary.
        guard: What no message may become.
        use: How the template is used; by default it takes whatever there is.
    """

    def __init__(
        self, template: ChatTemplate, tokenizer: PromptTokenizer, guard: MarkerGuard, use: TemplateUse = ANY_USE
    ) -> None:
        self._template = template
        self._use = use
        self._tokenizer = tokenizer
        self._guard = guard
        self._counted: LRUCache[tuple[tuple[ChatMessage, ...], TemplateOptions], list[int]] = LRUCache(COUNTED_KEPT)

    def count(self, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> int:
        """How many tokens the conversation has; the question usually follows its count, so they are kept for that.

        Raises:
            EngineError: With code ``bad_request`` if the template can't take it.
        """
        tokens = self._counted[tuple(messages), options] = self.tokens(messages, options)
        return len(tokens)

    def tokens(self, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> list[int]:
        """Tokens of the whole conversation, ready for the answer to follow.

        Args:
            messages: The conversation; if it ends in the assistant's message, the answer continues that.
            options: What the template is told beside it.

        Raises:
            EngineError: With code ``bad_request`` if the template can't take it.
        """
        counted = self._counted.pop((tuple(messages), options), None)
        return self._made(messages, options) if counted is None else counted

    def _made(self, messages: Sequence[ChatMessage], options: TemplateOptions) -> list[int]:
        names = self._use.names_for(self._template, options)
        is_single = "chat" in self._use.abilities and "turns" not in self._use.abilities
        if is_single and sum(message.role == "user" for message in messages) > 1:
            raise EngineError(
                "This model answers single questions only: its chat template can't render a second one.",
                code="bad_request",
                fix="Start a new chat.",
            )
        conversation = self._use.placed(messages)
        spans = [self._guard.spans(message.content) for message in conversation]
        render = partial(self._render, names=names)
        if any(spans):
            tokens = self._tokens_apart(conversation, spans, render)
        else:
            tokens = self._tokenizer.tokenize(render(conversation), special=True)
        leading = self._tokenizer.leading_tokens
        return tokens if tokens[: len(leading)] == leading else leading + tokens

    def _render(self, messages: Sequence[ChatMessage], *, names: Mapping[str, Any]) -> str:
        """The prompt's text; where the last message is the assistant's, it ends with that message."""
        shown = [{"role": message.role, "content": message.content} for message in messages]
        if messages[-1].role != "assistant" or self._template.completes:
            return self._template.render(shown, names=names)
        sign = f"\ufdd0{secrets.token_hex(6)}\ufdd1"
        shown[-1]["content"] += sign
        prompt, found, _ = self._template.render(shown, begins=False, names=names).rpartition(sign)
        if not found:
            raise EngineError(
                "The model's chat template can't leave an answer open.", code="bad_request", fix="End with a question."
            )
        return prompt

    def _tokens_apart(
        self, messages: Sequence[ChatMessage], spans: Sequence[list[tuple[int, int]]], render: Render
    ) -> list[int]:
        nonce = secrets.token_hex(6)
        begin, end = f"\ufdd0{nonce}", f"{nonce}\ufdd1"
        signed, marked = [], []
        for message, places in zip(messages, spans, strict=True):
            marked += [message.content[first:last] for first, last in places]
            signed.append(ChatMessage(message.role, _with_signs(message.content, places, begin, end)))
        pieces = re.split(f"{begin}(.*?){end}", render(signed), flags=re.DOTALL)
        if pieces[1::2] != marked:
            pieces = _around_whole(messages, spans, render, begin, end)
        # Who types one marker a thousand times holds up every stream otherwise.
        as_text, as_template = cache(self._as_text), cache(partial(self._tokenizer.tokenize, special=True))
        tokens: list[int] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                tokens += as_text(piece)
            elif piece:
                tokens += as_template(piece, continues=at > 0)
        return tokens

    def _as_text(self, text: str) -> list[int]:
        """Tokens of a text in which nothing is a marker: where one comes out, the text is tokenized in halves."""
        tokens = self._tokenizer.tokenize(text, special=False, continues=True)
        if self._guard.tokens.isdisjoint(tokens):
            return tokens
        if len(text) == 1:
            raise EngineError(
                "The conversation holds a character that this model reads as a control token.",
                code="bad_request",
                fix="Leave it out.",
            )
        cuts = [0, *(border for span in self._guard.spans(text) for border in span), len(text)]
        parts = [text[first:last] for first, last in pairwise(cuts) if first < last]
        if len(parts) == 1:
            half = len(text) // 2
            parts = [text[:half], text[half:]]
        return [token for part in parts for token in self._as_text(part)]


def _around_whole(
    messages: Sequence[ChatMessage], spans: Sequence[list[tuple[int, int]]], render: Render, begin: str, end: str
) -> list[str]:
    """The template's text and messages in turn, for a template that looks at what is in a message."""
    contents, shown = [], []
    for index, (message, places) in enumerate(zip(messages, spans, strict=True)):
        content = message.content
        core = content.strip()
        if places:
            # White space stays outside the signs, so that a template may trim it.
            before, _, after = content.partition(core)
            content = f"{before}{begin}{index}{end}{after}"
        contents.append(core)
        shown.append(ChatMessage(message.role, content))
    pieces = re.split(f"{begin}([0-9]+){end}", render(shown))
    if not {index for index, places in enumerate(spans) if places} <= {int(index) for index in pieces[1::2]}:
        raise EngineError(
            "The model's chat template changes the text of messages, and this conversation holds control tokens.",
            code="bad_request",
            fix="Leave them out.",
        )
    return [contents[int(piece)] if at % 2 else piece for at, piece in enumerate(pieces)]


def _with_signs(content: str, places: Sequence[tuple[int, int]], begin: str, end: str) -> str:
    pieces, at = [], 0
    for first, last in places:
        pieces += [content[at:first], begin, content[first:last], end]
        at = last
    return "".join([*pieces, content[at:]])
