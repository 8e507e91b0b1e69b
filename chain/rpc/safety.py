"""What the RPC tells of the rollup's safety: read from L1 at most once a second, however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chain.l1.protocol import RollupL1
from chain.views import DisputeView, SafetyView, WaitingMessage
from chain.watchtower.safety import SafetyReader


class SafetyQueries:
    """Answers from L1, one question after the other.

    Every method may raise what L1 raises when it doesn't answer.

    Args:
        l1: The contracts.
        fresh_s: How long an answer is given again.
        clock: Monotonic seconds.
    """

    def __init__(self, l1: RollupL1, *, fresh_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._clock = clock
        self._reader = SafetyReader(l1)
        self._asking = asyncio.Lock()
        self._seen: tuple[float, SafetyView] | None = None

    async def view(self) -> SafetyView:
        """Bonds, waiting messages, disputes and the freeze."""
        async with self._asking:
            return await self._look()

    async def disputes(self, limit: int, skip: int) -> list[DisputeView]:
        """Frauds that were proven, newest first."""
        async with self._asking:
            await self._look()
            return self._reader.disputes(limit, skip)

    async def waiting(self, start: int, limit: int) -> list[WaitingMessage]:
        """The inbox messages that no batch executes, oldest first."""
        async with self._asking:
            return await self._reader.waiting(start, limit)

    async def _look(self) -> SafetyView:
        if self._seen is None or self._clock() - self._seen[0] >= self._fresh_s:
            self._seen = self._clock(), await self._reader.look()
        return self._seen[1]
