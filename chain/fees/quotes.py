"""Quotes that hold: the prices of the last moments, so that whoever was told one is not refused for it."""

from __future__ import annotations

from collections import deque
from typing import Final

from chain.fees.prices import Prices

MAX_KEPT: Final = 64


class QuoteBook:
    """The prices that were asked for within the time that a quote holds. No list of clients: a quote is for everybody.

    Args:
        valid_s: How long one holds.
    """

    def __init__(self, valid_s: float) -> None:
        self._valid_s = valid_s
        self._prices: Prices | None = None
        self._replaced: deque[tuple[Prices, float]] = deque(maxlen=MAX_KEPT)

    def note(self, prices: Prices, now_s: float) -> None:
        """Take in what is asked for from now on."""
        if self._prices is not None and prices != self._prices:
            self._replaced.append((self._prices, now_s))
        self._prices = prices
        while self._replaced and self._replaced[0][1] + self._valid_s < now_s:
            self._replaced.popleft()

    def standing(self, now_s: float) -> list[Prices]:
        """Every quote that somebody may rely on now, the newest last."""
        standing = [prices for prices, at_s in self._replaced if at_s + self._valid_s >= now_s]
        return standing if self._prices is None else [*standing, self._prices]
