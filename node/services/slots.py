"""The line in front of the engine: as many requests as it has slots, a bounded number waiting, first come first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from node.engine.protocol import EngineError

WAITING_PER_SLOT: Final = 4


class Slots:
    """Hands out the engine's slots.

    Args:
        count: How many requests run at once.
        request_ms: Tells how long a request takes about, for the estimate of those who wait.
    """

    def __init__(self, count: int, request_ms: Callable[[], float]) -> None:
        self.count = count
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._request_ms = request_ms

    @property
    def free(self) -> int:
        """Slots that a request would get at once."""
        return max(0, self.count - self._taken)

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return len(self._waiting)

    @asynccontextmanager
    async def take(self, on_wait: Callable[[int, int], None]) -> AsyncIterator[None]:
        """One slot for as long as the block runs.

        Raises:
            EngineError: ``engine_busy`` if the line is full.
        """
        if self._taken < self.count:
            self._taken += 1
        else:
            await self._wait(on_wait)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, on_wait: Callable[[int, int], None]) -> None:
        if len(self._waiting) >= self.count * WAITING_PER_SLOT:
            raise EngineError(
                "Every slot is busy and the line is full.", code="engine_busy", fix="Try again later, or another offer."
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        position = len(self._waiting)
        on_wait(position, int(self._request_ms() * position / self.count))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        """The slot goes to the next in line, or back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1
