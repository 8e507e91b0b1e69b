"""Reads what ``/v1/embeddings`` answers for one text; pure, every number checked."""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec

from node.engine.upstream.chunks import Usage, count_of
from node.engine.upstream.refusals import UpstreamError, broken

MAX_NUMBERS: Final = 1 << 16
MAX_TOKENS_EMBEDDED: Final = 1 << 17

_Numbers = Annotated[list[float], msgspec.Meta(min_length=1, max_length=MAX_NUMBERS)]


class _Embedded(msgspec.Struct):
    embedding: msgspec.Raw


class EmbeddingAnswer(msgspec.Struct):
    """The answer for one text."""

    data: Annotated[list[_Embedded], msgspec.Meta(min_length=1, max_length=1)]
    usage: Usage


class Vector(msgspec.Struct, frozen=True):
    """A vector of length 1, and the tokens of its text."""

    numbers: tuple[float, ...]
    tokens: int


def read_vector(answer: EmbeddingAnswer) -> Vector:
    """One vector: as it came, or the mean over the tokens' where the server does not pool them; of length 1.

    Raises:
        UpstreamError: If it is none, or the text's tokens are not reported.
    """
    tokens = count_of(answer.usage.prompt_tokens)
    if not tokens:
        raise broken("no count of the text's tokens")
    numbers = _numbers(bytes(answer.data[0].embedding))
    length = math.hypot(*numbers)
    if not 0 < length < math.inf:
        raise _no_vector()
    return Vector(tuple(number / length for number in numbers), tokens)


def _numbers(data: bytes) -> list[float]:
    try:
        return msgspec.json.decode(data, type=_Numbers)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    try:
        rows = msgspec.json.decode(
            data, type=Annotated[list[_Numbers], msgspec.Meta(min_length=1, max_length=MAX_TOKENS_EMBEDDED)]
        )
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _no_vector() from None
    if len({len(row) for row in rows}) > 1:
        raise _no_vector()
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _no_vector() -> UpstreamError:
    return broken("an embedding that is no vector")
