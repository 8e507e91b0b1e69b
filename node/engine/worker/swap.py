"""Kept sequences outside the cache: copies of their cells in main memory, over which no token of a request has to pass.

With half a billion parameters on a CPU, copying takes 3 µs a cell, there as well as back, and 100 µs where cells of
other streams lie between, as they do after answers that were drawn side by side; a token of one stream takes 5 µs to
pass over a cell that isn't its own, and computing the cell again takes 10 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MOST_SEQUENCES = 256
"""A new prompt is compared with each that it may begin like."""


class SavedState(Protocol):
    """What llama.cpp holds for a sequence, as bytes that only llama.cpp reads."""

    def __len__(self) -> int:
        """How many bytes."""
        ...


@dataclass(slots=True, eq=False, frozen=True)
class SwappedSequence:
    """A sequence in main memory: whose it is, its tokens, and what the cache held for them."""

    key: str
    tokens: list[int]
    state: SavedState


class SwapSpace:
    """SwappedSequence sequences; the longest unused is forgotten where they have too many bytes.

    Args:
        limit_bytes: Bytes they may have together; 0 for no swapping.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._held: dict[SwappedSequence, None] = {}

    def __iter__(self) -> Iterator[SwappedSequence]:
        """The longest unused first."""
        return iter(self._held)

    def __contains__(self, one: SwappedSequence) -> bool:
        """Whether this one is still held."""
        return one in self._held

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)

    def put(self, one: SwappedSequence) -> None:
        """Hold another one, if it isn't larger than all there may be."""
        if len(one.state) > self.limit_bytes:
            return
        self._held[one] = None
        self.held_bytes += len(one.state)
        while self.held_bytes > self.limit_bytes or len(self._held) > MOST_SEQUENCES:
            self.remove(next(iter(self._held)))

    def use(self, one: SwappedSequence) -> None:
        """It was of use now: others are forgotten before it."""
        if one in self._held:
            del self._held[one]
            self._held[one] = None

    def remove(self, one: SwappedSequence) -> None:
        """Forget one, if it is still held."""
        if one in self._held:
            del self._held[one]
            self.held_bytes -= len(one.state)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
        self.held_bytes = 0
