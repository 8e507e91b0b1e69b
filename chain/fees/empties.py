"""Which accounts that hold nothing are removed: those that were seen empty, and unused, for long enough.

Accounts are created without a fee, so a crowd of them would fill memory for ever. Their owners lose nothing by it: an
account of the same owner is created again as freely, with another number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class EmptyAccounts:
    """Accounts seen empty, oldest first, and since when.

    Args:
        after_s: How long one is seen empty before it is removed.
        max_kept: How many are remembered at once.
    """

    def __init__(self, after_s: float, *, max_kept: int) -> None:
        self._after_s = after_s
        self._max_kept = max_kept
        self._since: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._since)

    def look(self, seen: Iterable[tuple[int, int | None]], now_s: float) -> None:
        """Take in what some accounts are like now.

        Args:
            seen: An account's number and its nonce if it holds nothing; ``None`` if it does, or is gone.
            now_s: Monotonic seconds.
        """
        for number, nonce in seen:
            known = self._since.get(number)
            if nonce is None:
                self._since.pop(number, None)
            elif known is None or known[0] != nonce:
                self._since.pop(number, None)
                if len(self._since) < self._max_kept:
                    self._since[number] = (nonce, now_s)

    def due(self, now_s: float, limit: int) -> list[int]:
        """The numbers that were empty for long enough, longest first; forgotten here once they are handed out."""
        found: list[int] = []
        for number, (_, since_s) in self._since.items():
            if len(found) == limit or since_s + self._after_s > now_s:
                break
            found.append(number)
        for number in found:
            del self._since[number]
        return found
