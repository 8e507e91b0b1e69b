"""L1's time as the sequencer sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from chain.l1.protocol import RollupL1
from chain.logs import get_logger

log = get_logger(__name__)

MAX_BACK_S: Final = 600
"""How far apart the clocks of an L1's nodes, or of its histories, may be. What differs by more was wrong before."""


class L1Clock:
    """L1's time as last seen, moved on by what has passed since, so that an L1 outage doesn't stop L2 time.

    Args:
        l1: Whose time it is.
        monotonic: Seconds that only move forward.
    """

    def __init__(self, l1: RollupL1, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._l1 = l1
        self._monotonic = monotonic
        self._seen = (0, monotonic())

    @property
    def time_s(self) -> int:
        """Seconds since 1970, as L1 counts them."""
        seen_s, at_s = self._seen
        return seen_s + int(self._monotonic() - at_s)

    async def look(self) -> None:
        """See what time it is on L1; a clock that went back a little is not followed.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        now_s = await self._l1.time_s()
        seen_s = self._seen[0]
        if seen_s - now_s > MAX_BACK_S:
            log.warning("l1_clock_went_back", from_s=seen_s, to_s=now_s)
            seen_s = now_s
        self._seen = (max(seen_s, now_s), self._monotonic())
