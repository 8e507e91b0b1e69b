"""Reads the log-probabilities in chat chunks (``choices[].logprobs.content[]``); pure, every value checked.

OpenAI's format has no token ids. llama-server adds an ``id`` to each entry; vLLM writes ids in the place of tokens when
``return_tokens_as_token_ids`` asks for it, where those of the alternatives then come without their bytes. Entries
without ids are no log-probabilities of tokens, and refused.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import msgspec

from node.engine.upstream.refusals import UpstreamError, broken
from node.values.inference import MAX_TOKEN_BYTES, TokenId, TokenLogprob, TopLogprob

MAX_ENTRIES: Final = 1_024
"""Tokens in one event, and tokens that may wait for their text."""
MAX_TOPS_READ: Final = 64
ROUNDING: Final = 1e-3
"""How far above 0 a log-probability may be by rounding."""
MAX_GAP_BYTES: Final = 256
"""Text in a row whose tokens are not reported."""
ID_PREFIX: Final = "token_id:"

_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Bytes = Annotated[list[_Byte], msgspec.Meta(max_length=MAX_TOKEN_BYTES)]


class _Top(msgspec.Struct):
    logprob: float
    token: str = ""
    id: TokenId | None = None
    bytes: _Bytes | None = None


class _Entry(_Top):
    top_logprobs: Annotated[list[_Top], msgspec.Meta(max_length=MAX_TOPS_READ)] = []


class _Logprobs(msgspec.Struct):
    content: Annotated[list[_Entry], msgspec.Meta(max_length=MAX_ENTRIES)] | None = None


class LogprobReader:
    """Reads one stream's log-probabilities, and gives each to the text in which its token begins.

    Args:
        tops: How many of the most likely tokens to keep with each.
        ids_as_tokens: Whether the server was asked to write ids in the place of tokens.
    """

    def __init__(self, tops: int, *, ids_as_tokens: bool) -> None:
        self._tops = tops
        self._ids_as_tokens = ids_as_tokens
        self._waiting: tuple[TokenLogprob, ...] = ()
        self._made = 0
        self._gap_bytes = 0
        self._anything = False

    def take(self, text: str, told_with_it: Any, made: int | None = None) -> tuple[TokenLogprob, ...]:
        """What belongs to this text: tokens reported before any of it wait for it.

        Tokens after the last text, such as the one that ends the answer, are never reported. Nor are those of an event
        that reports fewer than it holds, as llama-server's where it wrote several at once (a character of several
        tokens, what could have become a stop string): bytes and token do not belong together there.

        Args:
            text: A piece of the answer, which may be empty.
            told_with_it: The ``logprobs`` that came with it, as JSON was read, or nothing.
            made: Tokens of the whole stream up to here, where the upstream says so.

        Raises:
            UpstreamError: If they are none, or too much text comes without them.
        """
        told = self._read(told_with_it) if told_with_it else ()
        before, self._made = self._made, max(self._made, made or 0)
        told = told if len(told) >= self._made - before else ()
        self._gap_bytes = 0 if told else self._gap_bytes + len(text.encode())
        if self._gap_bytes > MAX_GAP_BYTES:
            raise _untold()
        told = self._waiting + told
        if not text and len(told) > MAX_ENTRIES:
            raise broken("log-probabilities without text")
        self._waiting = () if text else told
        self._anything = self._anything or bool(text and told)
        return told if text else ()

    def finish(self) -> None:
        """Check at the end that what was asked for came.

        Raises:
            UpstreamError: If there was text and nothing was reported of it.
        """
        if self._gap_bytes and not self._anything:
            raise _untold()

    def _read(self, said: Any) -> tuple[TokenLogprob, ...]:
        try:
            entries = msgspec.convert(said, _Logprobs).content or []
        except (msgspec.ValidationError, RecursionError):
            raise broken("log-probabilities that are none") from None
        return tuple(
            TokenLogprob(self._id(one), self._bytes(one), _logprob(one.logprob), self._best(one)) for one in entries
        )

    def _best(self, entry: _Entry) -> tuple[TopLogprob, ...]:
        if not self._tops:
            return ()
        tops = [TopLogprob(self._id(one), self._bytes(one), _logprob(one.logprob)) for one in entry.top_logprobs]
        return tuple(sorted(tops, key=lambda one: -one.logprob)[: self._tops])

    def _id(self, entry: _Top) -> int:
        if entry.id is not None:
            return entry.id
        digits = entry.token.removeprefix(ID_PREFIX)
        if self._ids_as_tokens and digits != entry.token and digits.isascii() and digits.isdigit() and len(digits) < 10:
            return int(digits)
        raise broken("log-probabilities without the tokens' ids")

    def _bytes(self, entry: _Top) -> bytes:
        if entry.bytes is not None:
            return bytes(entry.bytes)
        if self._ids_as_tokens:
            raise broken("log-probabilities without the tokens' bytes")
        data = entry.token.encode("utf-8", "replace")
        if len(data) > MAX_TOKEN_BYTES:
            raise broken("a token that is too long")
        return data


def _untold() -> UpstreamError:
    return broken("text without the log-probabilities of its tokens")


def _logprob(value: float) -> float:
    if not math.isfinite(value) or value > ROUNDING:
        raise broken("a log-probability that is none")
    return min(value, 0.0)
