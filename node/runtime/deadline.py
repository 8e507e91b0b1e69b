"""One timer for the many waits of a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Deadline:
    """Calls back when a wait lasts too long.

    A session waits several times for each piece of text. A timer for each wait would cost more than most waits last.
    This timer keeps running. When it fires, it checks how long the current wait may still take.

    Args:
        on_late: Called once for a wait that passed its limit and still goes on.
    """

    __slots__ = ("_due_s", "_loop", "_on_late", "_timer")

    def __init__(self, on_late: Callable[[], None]) -> None:
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._due_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, limit_s: float) -> None:
        """Begin a wait that may take this long."""
        due_s = self._due_s = self._loop.time() + limit_s
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._ring)
        elif self._timer.when() > due_s:
            self._timer.cancel()
            self._timer = self._loop.call_at(due_s, self._ring)

    def end(self) -> None:
        """End the wait."""
        self._due_s = None

    def close(self) -> None:
        """Stop the timer; harmless when repeated."""
        self._due_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._due_s is None:
            return
        if self._loop.time() < self._due_s:
            self._timer = self._loop.call_at(self._due_s, self._ring)
            return
        self._due_s = None
        self._on_late()


@asynccontextmanager
async def ending_late_waits() -> AsyncIterator[Deadline]:
    """A deadline whose first wait that lasts too long ends the block.

    Raises:
        TimeoutError: If one did.
    """
    async with asyncio.timeout(None) as overtime:
        deadline = Deadline(lambda: overtime.reschedule(0))
        try:
            yield deadline
        finally:
            deadline.close()
