"""Counts output tokens of a stream that sends text, and its true count only now and then; pure.

A buyer is never billed above three things: the bytes delivered (what it re-counts by), the limit it asked for, and what
the upstream itself states, once it states anything. Until then a piece of text counts as one token, times a rate
learned from this upstream: most send a piece a token, some gather several in one (billed at the end then), and a proxy
may cut one in two (billed at its rate).
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """Tokens to a number of pieces, never more than one each."""

    tokens: int = 1
    pieces: int = 1

    def lowered(self, tokens: int, pieces: int) -> Rate:
        """The lower one of this rate and what a whole stream showed."""
        if pieces <= 0 or tokens * self.pieces >= self.tokens * pieces:
            return self
        return Rate(tokens, pieces)


class TokenMeter:
    """Counts one stream.

    Args:
        most_tokens: The limit that was asked for.
        rate: What earlier streams of this upstream showed.
    """

    def __init__(self, most_tokens: int, rate: Rate = Rate()) -> None:  # noqa: B008 - frozen
        self._most_tokens = most_tokens
        self._rate = rate
        self.bytes = 0
        self.pieces = 0
        self.tokens = 0
        """Billed so far; never falls."""
        self.stated: int | None = None
        """The most tokens that the upstream said it made; ``None`` before it said any."""

    def take(self, text: str, stated: int | None) -> int:
        """Tokens to bill with this piece of text, after what was billed before it.

        Args:
            text: The text, which may be empty.
            stated: Tokens of the whole stream up to here, where the upstream says so.
        """
        self.bytes += len(text.encode())
        self.pieces += bool(text)
        # Text and no tokens can't both be: a server that states 0 states nothing.
        if stated:
            self.stated = max(self.stated or 0, stated)
        known = self.pieces * self._rate.tokens // self._rate.pieces if self.stated is None else self.stated
        more = max(0, min(known, self.bytes, self._most_tokens) - self.tokens)
        self.tokens += more
        return more

    def learned(self) -> Rate:
        """The rate for the next stream; call it at the end."""
        return self._rate if self.stated is None else self._rate.lowered(self.stated, self.pieces)
