"""Prompts that were processed for a buyer that then left: the work is the provider's, so it is given only so often."""

from __future__ import annotations

from typing import Final

FREE_PREFILLS: Final = 8
"""How many in a row are nobody's fault: a person stops an answer, a quote is too dear, a deposit too small."""
MOST_PAUSE_S: Final = 60.0
KEPT_BUYERS: Final = 10_000


class UnpaidPrefills:
    """Counts, for each buyer, the prompts in a row that were processed and of which no token was taken.

    Args:
        free: How many in a row have no consequence.
    """

    def __init__(self, free: int = FREE_PREFILLS) -> None:
        self._free = free
        self._last: dict[bytes, tuple[int, float]] = {}
        """By the account that pays: how many, and when the last one ended."""

    def left(self, buyer: bytes, now_s: float) -> None:
        """A buyer left before the first token."""
        count, _ = self._last.pop(buyer, (0, 0.0))
        self._last[buyer] = count + 1, now_s
        if len(self._last) > KEPT_BUYERS:
            del self._last[next(iter(self._last))]

    def paid(self, buyer: bytes) -> None:
        """A buyer paid for an answer."""
        self._last.pop(buyer, None)

    def pause_s(self, buyer: bytes, now_s: float) -> float:
        """How long the buyer has to wait for its next prompt; each one that it leaves too doubles that."""
        count, last_s = self._last.get(buyer, (0, 0.0))
        if count < self._free:
            return 0.0
        return max(0.0, last_s + min(MOST_PAUSE_S, 2.0 ** min(count - self._free, 16)) - now_s)
