"""Which sequences the cache holds, who may reuse whose beginning, and which is forgotten when room is needed.

A sequence is *running* while a request grows it, and *kept* afterwards: a later request that begins with the same
tokens takes it over, or shares its first cells. Kept ones are forgotten, the longest unused first, when a running one
needs their cells or their number. They are also forgotten once others have drawn many tokens without them: every token
looks at all cells that are in use, and to pass over those of others costs time too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from node.engine.worker.cells import Cells

KEPT_FOR_TOKENS = 2_048
"""Tokens drawn by others after which a kept sequence has cost about as much as to compute it again (half a billion
parameters on a CPU: 5 µs a cell and token, 10 ms a prompt's token, at even odds that it is wanted again)."""
_LOOK_EVERY_TOKENS = 64


class Memory(Protocol):
    """What the book needs from llama.cpp's cache."""

    def forget(self, sequence: int) -> None:
        """Drop all cells of a sequence."""
        ...

    def share(self, source: int, sequence: int, length: int) -> None:
        """Let a sequence begin with the first `length` cells of another one."""
        ...

    def forget_all(self) -> None:
        """Empty the cache."""
        ...


@dataclass(slots=True, eq=False)
class _Entry:
    key: str
    tokens: list[int]
    used: int
    used_at_tokens: int
    running: bool = True


class PrefixCache:
    """The book over one cache.

    Args:
        memory: Does what the book decides.
        cells: Cells of the cache.
        sequences: Sequences it can tell apart; at least as many as requests run at once.
        partial: Whether a sequence can share a part of another one. A recurrent model's state stands for all of its
            tokens: there a whole sequence can be continued, and nothing else.
        shared: Whether requests with different keys may reuse each other's beginnings.
    """

    def __init__(self, memory: Memory, *, cells: int, sequences: int, partial: bool, shared: bool) -> None:
        self._memory = memory
        self.capacity = cells
        self._partial = partial
        self._shared = shared
        self._cells = Cells(cells)
        self._numbers = list(range(sequences - 1, -1, -1))
        self._entries: dict[int, _Entry] = {}
        self._clock = 0
        self._drawn_tokens = 0
        self._look_at_tokens = 0

    @property
    def free_cells(self) -> int:
        """Cells that nothing holds."""
        return self._cells.free

    @property
    def kept(self) -> int:
        """How many ended sequences are still held."""
        return sum(not entry.running for entry in self._entries.values())

    def length(self, number: int) -> int:
        """How many tokens of a sequence the cache holds."""
        return self._cells.length(number)

    def held_by_running(self) -> int:
        """Cells that running sequences hold, and that can't be had by forgetting kept ones."""
        return self._cells.held([number for number, entry in self._entries.items() if entry.running])

    def take(self, key: str, tokens: list[int]) -> tuple[int, int]:
        """Begin to run a sequence of these tokens, which the caller goes on to extend.

        Returns:
            Its number, and how many of its tokens the cache holds already: never the last one, whose logits are needed.
        """
        source, length = self._best(key, tokens)
        self._clock += 1
        if length:
            entry = self._entries[source]
            entry.used, entry.used_at_tokens = self._clock, self._drawn_tokens
            if not entry.running and length == self._cells.length(source):
                entry.key, entry.tokens, entry.running = key, tokens, True
                return source, length
        number = self._number(spare=source)
        if number == source:
            # The last free number was the source's own: it is begun anew.
            length = 0
        if length:
            self._memory.share(source, number, length)
            self._cells.fork(source, number, length)
        else:
            self._cells.open(number)
        self._entries[number] = _Entry(key, tokens, self._clock, self._drawn_tokens)
        return number, length

    def grow(self, number: int, count: int) -> None:
        """A sequence was given so many cells more."""
        self._cells.grow(number, count)

    def keep(self, number: int) -> None:
        """The request is over; what it computed may serve another one."""
        length = self._cells.length(number)
        if not length:
            self.drop(number)
            return
        entry = self._entries[number]
        self._clock += 1
        # The request's own list may go on growing in other hands, and its last token was never computed.
        entry.tokens, entry.used, entry.running = entry.tokens[:length], self._clock, False
        entry.used_at_tokens = self._drawn_tokens

    def age(self, tokens: int) -> None:
        """So many tokens were drawn: what was kept through too many is forgotten."""
        self._drawn_tokens += tokens
        if self._drawn_tokens < self._look_at_tokens:
            return
        self._look_at_tokens = self._drawn_tokens + _LOOK_EVERY_TOKENS
        stale = self._drawn_tokens - KEPT_FOR_TOKENS
        for number in [one for one, entry in self._entries.items() if not entry.running]:
            if self._entries[number].used_at_tokens < stale:
                self.drop(number)

    def drop(self, number: int) -> None:
        """Forget a sequence at once."""
        del self._entries[number]
        self._cells.drop(number)
        self._memory.forget(number)
        self._numbers.append(number)

    def clear(self) -> None:
        """Forget everything: the cache itself is empty, or is another one."""
        self._numbers += self._entries
        self._entries.clear()
        self._cells = Cells(self.capacity)
        self._memory.forget_all()

    def forget_kept(self) -> bool:
        """Forget everything that doesn't run; returns whether there was something."""
        kept = [number for number, entry in self._entries.items() if not entry.running]
        for number in kept:
            self.drop(number)
        return bool(kept)

    def make_room(self, cells: int) -> bool:
        """Forget kept sequences until so many cells are free; returns whether they are."""
        while self._cells.free < cells:
            oldest = self._oldest()
            if oldest is None:
                return False
            self.drop(oldest)
        return True

    def _best(self, key: str, tokens: list[int]) -> tuple[int, int]:
        best, most = -1, 0
        for number, entry in self._entries.items():
            if not self._shared and entry.key != key:
                continue
            held = self._cells.length(number)
            if held <= most or (not self._partial and (entry.running or held >= len(tokens))):
                continue
            length = common_prefix(entry.tokens, tokens, min(held, len(tokens) - 1))
            if length > most and (self._partial or length == held):
                best, most = number, length
        return best, most

    def _number(self, spare: int) -> int:
        """A number not in use: if need be of the kept sequence longest unused, and of `spare` at the very last."""
        if not self._numbers:
            oldest = self._oldest(spare)
            self.drop(spare if oldest is None else oldest)
        return self._numbers.pop()

    def _oldest(self, spare: int = -1) -> int | None:
        kept = [number for number, entry in self._entries.items() if not entry.running and number != spare]
        return min(kept, key=lambda number: self._entries[number].used, default=None)


def common_prefix(one: list[int], other: list[int], limit: int) -> int:
    """How many of the first `limit` tokens are the same, by halving: slices are compared far faster than items."""
    low, high = 0, max(0, limit)
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
