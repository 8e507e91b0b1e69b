"""Turns sampled bytes into text that may be sent: whole characters, and nothing that may become a stop string."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable


class Detokenizer:
    """The text of one answer.

    Tokens are counted when the character that their first byte belongs to is released. Each counted token so has
    at least one byte in the text: a buyer can check that there are never more tokens than bytes.

    Args:
        stops: Strings that end the answer; neither they nor anything after is released.
        on_token: Called for each counted token with the index of its first character in the answer.
    """

    __slots__ = (
        "_decoded",
        "_decoder",
        "_longest",
        "_on_token",
        "_pending",
        "_prefixes",
        "_starts",
        "_stops",
        "stopped",
        "watches_stops",
    )

    def __init__(self, stops: tuple[str, ...] = (), on_token: Callable[[int], object] | None = None) -> None:
        self._on_token = on_token
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._prefixes = frozenset(stop[:end] for stop in stops for end in range(1, len(stop)))
        self._longest = max((len(stop) for stop in stops), default=1) - 1
        self._pending = ""
        self._decoded = 0
        self._starts: deque[int] = deque()
        self.stopped = False
        self.watches_stops = True
        """Whether stop strings end the answer here."""

    def push(self, piece: bytes) -> tuple[str, int]:
        """Add one token's bytes; returns the text that can be released now, and how many tokens it holds."""
        if not piece:
            return "", 0
        text = self._decoder.decode(piece)
        if text and not (self._starts or self._pending or (self._stops and self.watches_stops)):
            # The usual case, on the path of every token: whole characters, and nothing held back.
            if self._on_token is not None:
                self._on_token(self._decoded)
            self._decoded += len(text)
            return text, 1
        self._starts.append(self._decoded)
        return self._add(text)

    def place_no_more(self) -> None:
        """Report no more tokens; they are counted as before."""
        self._on_token = None

    @property
    def decoded(self) -> int:
        """Characters decoded so far, those that are held back included."""
        return self._decoded

    def finish(self) -> tuple[str, int]:
        """Release what was held back; half a character becomes U+FFFD."""
        text, tokens = ("", 0) if self.stopped else self._add(self._decoder.decode(b"", True))
        if self.stopped:
            return text, tokens
        rest, self._pending = self._pending, ""
        return text + rest, tokens + self._count_released()

    def _add(self, text: str) -> tuple[str, int]:
        self._decoded += len(text)
        pending = self._pending + text
        if not self._stops or not self.watches_stops:
            self._pending = ""
            return pending, self._count_released()
        found = min((at for stop in self._stops if (at := pending.find(stop)) >= 0), default=-1)
        if found >= 0:
            self.stopped = True
            self._pending = pending[found:]
            released, tokens = pending[:found], self._count_released()
            self._starts.clear()
            return released, tokens
        held = self._held(pending)
        cut = len(pending) - held
        self._pending = pending[cut:]
        return pending[:cut], self._count_released()

    def _held(self, pending: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        for length in range(min(self._longest, len(pending)), 0, -1):
            if pending[-length:] in self._prefixes:
                return length
        return 0

    def _count_released(self) -> int:
        released, starts, tokens = self._decoded - len(self._pending), self._starts, 0
        while starts and starts[0] < released:
            start = starts.popleft()
            if self._on_token is not None:
                self._on_token(start)
            tokens += 1
        return tokens
