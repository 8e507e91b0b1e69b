"""The prefix cache: which sequences it holds, which request may reuse them, and which are evicted first.

A sequence is *running* while a request grows it, and *kept* afterwards: a later request that begins with the same
tokens takes it over, or shares its first cells. Kept sequences are evicted, the longest unused first, when a running
one needs their cells or their number, and once other requests drew some tokens: each token passes over all cells in
use, which costs time. Evicted sequences are swapped out into main memory while there is room, and swapped in when a
request begins like them. Copying would delay the next request, so it is done ahead, while nothing runs; until its cells
are needed, a copied sequence is in both places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from node.engine.worker.cells import Cells
from node.engine.worker.prefix import reusable_prefix
from node.engine.worker.swap import SavedState, SwappedSequence, SwapSpace

EVICT_AFTER_TOKENS = 2_048
"""Tokens drawn by others after which a kept sequence has cost too much where it can't be swapped out, or where copying
takes long: about as much as to compute it again (half a billion parameters on a CPU: 5 µs a cell and token, 10 ms a
prompt's token, at even odds that it is wanted again)."""
RESTORED_BYTES_PER_S = 1_000_000_000
"""How fast a swapped sequence comes back, at least: to share a few tokens of a long one may cost more than they do."""
_LOOK_EVERY_TOKENS = 64


class KvCache(Protocol):
    """What is needed of llama.cpp's cache."""

    def forget(self, sequence: int) -> None:
        """Drop all cells of a sequence."""
        ...

    def share(self, source: int, sequence: int, length: int) -> None:
        """Let a sequence begin with the first `length` cells of another one."""
        ...

    def cut(self, sequence: int, length: int) -> None:
        """Drop all cells of a sequence beyond its first `length`."""
        ...

    def save(self, sequence: int, most_bytes: int) -> SavedState | None:
        """Copy all cells of a sequence, if they have no more bytes than that and there is memory for them."""
        ...

    def restore(self, sequence: int, state: SavedState) -> bool:
        """Give a sequence that has no cells those that were saved; returns whether that could be done."""
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
    was_copied: bool = False
    copy: SwappedSequence | None = None
    """What main memory was given of it ahead of time, and may have forgotten since."""


class PrefixCache:
    """Keeps track of the sequences in one cache, and decides which one leaves it.

    Args:
        memory: Does what is decided here.
        cells: Cells of the cache.
        sequences: Sequences it can tell apart; at least as many as requests run at once.
        partial: Whether a sequence can share a part of another one. A recurrent model's state belongs to all of its
            tokens: there a whole sequence can be continued, and nothing else.
        share_prefixes: Whether requests with different keys may reuse each other's beginnings.
        swap: Where sequences go that leave the cache.
        evict_after_tokens: Tokens that others may draw before a kept sequence leaves the cache.
    """

    def __init__(
        self,
        memory: KvCache,
        *,
        cells: int,
        sequences: int,
        partial: bool,
        share_prefixes: bool,
        swap: SwapSpace,
        evict_after_tokens: int,
    ) -> None:
        self.prompt_token_s = 0.0
        """What computing a token of a prompt takes in seconds; 0.0 before it was measured."""
        self._memory = memory
        self._swap = swap
        self._evict_after_tokens = evict_after_tokens
        self.capacity = cells
        self._partial = partial
        self._share_prefixes = share_prefixes
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
        """How many ended sequences the cache still holds."""
        return sum(not entry.running for entry in self._entries.values())

    @property
    def swapped(self) -> int:
        """How many ended sequences main memory holds."""
        return len(self._swap)

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
        if (swapped := self._best_swapped(key, tokens, length)) is not None:
            number = self._swap_in(*swapped, spare=source)
            if number is not None:
                self._entries[number] = _Entry(key, tokens, self._clock, self._drawn_tokens)
                return number, swapped[1]
            # Room for it was made of what the cache held: the best of that may be gone.
            source, length = self._best(key, tokens)
        if length:
            entry = self._entries[source]
            entry.used, entry.used_at_tokens = self._clock, self._drawn_tokens
            if not entry.running and length == self._cells.length(source):
                self._take_over(entry, key, tokens)
                return source, length
        number = self._number(spare=source)
        if number == source:
            # The last free number was the source's own: it begins again.
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

    def set_aside(self, number: int) -> None:
        """A running sequence has to leave the cache; it comes back from main memory if there is room for it there."""
        length = self._cells.length(number)
        if not length:
            self.drop(number)
            return
        entry = self._entries[number]
        entry.tokens = entry.tokens[:length]
        self._swap_out(number)

    def age(self, tokens: int) -> None:
        """So many tokens were drawn."""
        self._drawn_tokens += tokens

    def tidy(self) -> None:
        """A batch is about to be computed: what was kept through too many tokens of others leaves the cache."""
        if self._evict_after_tokens:
            if self._drawn_tokens < self._look_at_tokens:
                return
            self._look_at_tokens = self._drawn_tokens + _LOOK_EVERY_TOKENS
        stale = self._drawn_tokens - self._evict_after_tokens
        for number in [one for one, entry in self._entries.items() if not entry.running]:
            if self._entries[number].used_at_tokens <= stale:
                self._swap_out(number)

    def copy_ahead(self) -> bool:
        """Copy a kept sequence into main memory, while nothing runs; returns whether there was one to copy.

        Where kept ones may stay for long, as beside a GPU, none is: most of them would be copied for nothing.
        """
        if self._evict_after_tokens or not self._swap.limit_bytes:
            return False
        number = next((one for one, entry in self._entries.items() if not (entry.running or entry.was_copied)), None)
        if number is None:
            return False
        entry = self._entries[number]
        entry.was_copied, entry.copy = True, self._copy(number)
        return True

    def drop(self, number: int) -> None:
        """Forget a sequence at once."""
        del self._entries[number]
        self._cells.drop(number)
        self._memory.forget(number)
        self._numbers.append(number)

    def clear(self) -> None:
        """Forget everything: the cache itself is empty, or is another one."""
        self._swap.clear()
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
        """Have kept sequences leave until so many cells are free; returns whether they are."""
        while self._cells.free < cells:
            oldest = self._oldest()
            if oldest is None:
                return False
            self._swap_out(oldest)
        return True

    def _best(self, key: str, tokens: list[int]) -> tuple[int, int]:
        best, most = -1, 0
        for number, entry in self._entries.items():
            if (not self._share_prefixes and entry.key != key) or (not self._partial and entry.running):
                continue
            held = entry.tokens[: self._cells.length(number)] if entry.running else entry.tokens
            if length := reusable_prefix(held, tokens, beyond=most, partial=self._partial):
                best, most = number, length
        return best, most

    def _best_swapped(self, key: str, tokens: list[int], beyond: int) -> tuple[SwappedSequence, int] | None:
        """What main memory holds of more tokens than `beyond`, and of how many, if it is worth the copying."""
        best, most = None, beyond
        for one in self._swap:
            if not self._share_prefixes and one.key != key:
                continue
            if length := reusable_prefix(one.tokens, tokens, beyond=most, partial=self._partial):
                best, most = one, length
        if best is None:
            return None
        costs_s, saves_s = len(best.state) / RESTORED_BYTES_PER_S, (most - beyond) * self.prompt_token_s
        return None if self.prompt_token_s and saves_s < costs_s else (best, most)

    def _swap_in(self, one: SwappedSequence, length: int, *, spare: int) -> int | None:
        """Bring a sequence's first `length` tokens back into the cache; its number, or None if that can't be done."""
        held = len(one.tokens)
        if not self.make_room(held):
            return None
        number = self._number(spare)
        if not self._memory.restore(number, one.state):
            # It never will be: what can't be read is of no use.
            self._swap.remove(one)
            self._numbers.append(number)
            return None
        if length < held:
            # A part of it is wanted; a later request may still continue where it ended.
            self._memory.cut(number, length)
            self._swap.use(one)
        else:
            self._swap.remove(one)
        self._cells.open(number)
        self._cells.grow(number, length)
        return number

    def _swap_out(self, number: int) -> None:
        """A sequence leaves the cache, for main memory if there is room."""
        entry = self._entries[number]
        if entry.copy is not None and entry.copy in self._swap:
            self._swap.use(entry.copy)
        else:
            self._copy(number)
        self.drop(number)

    def _copy(self, number: int) -> SwappedSequence | None:
        """Copy a sequence into main memory if there is room for it."""
        if not self._swap.limit_bytes:
            return None
        state = self._memory.save(number, self._swap.limit_bytes)
        if state is None:
            return None
        entry = self._entries[number]
        copy = SwappedSequence(entry.key, entry.tokens, state)
        self._swap.put(copy)
        return copy

    def _take_over(self, entry: _Entry, key: str, tokens: list[int]) -> None:
        """A kept sequence runs again, for a request that begins with all of it: it is not what was copied any more."""
        if entry.copy is not None:
            self._swap.remove(entry.copy)
        entry.key, entry.tokens, entry.running = key, tokens, True
        entry.was_copied, entry.copy = False, None

    def _number(self, spare: int) -> int:
        """A number not in use: if need be of the kept sequence longest unused, and of `spare` at the very last."""
        if not self._numbers:
            oldest = self._oldest(spare)
            self._swap_out(spare if oldest is None else oldest)
        return self._numbers.pop()

    def _oldest(self, spare: int = -1) -> int | None:
        kept = [number for number, entry in self._entries.items() if not entry.running and number != spare]
        return min(kept, key=lambda number: self._entries[number].used, default=None)
