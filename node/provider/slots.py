"""Gives the engine's slots to the requests of the admission queue, and tells waiting ones their place."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from node.provider.admission import REQUESTS_PER_BUYER, AdmissionQueue, QueuedRequest, entered, eta_ms, left, refusal

TELL_S: Final = 5.0


class Slots:
    """Hands out the engine's slots.

    Args:
        count: How many requests run at once.
        request_ms: Tells how long a request takes on average, for the estimates of waiting ones.
        per_buyer: Requests one buyer may have at once.
        tell_s: A waiting request is told its place at least this often, also when nothing moved.
    """

    def __init__(
        self,
        count: int,
        request_ms: Callable[[], float],
        *,
        per_buyer: int = REQUESTS_PER_BUYER,
        tell_s: float = TELL_S,
    ) -> None:
        self.tell_s = tell_s
        self.count = count
        self._request_ms = request_ms
        self._per_buyer = per_buyer
        self._queue = AdmissionQueue(slots=count)
        self._claims: dict[int, SlotClaim] = {}
        self.tickets = itertools.count()

    @property
    def free(self) -> int:
        """Slots that a request would get at once."""
        return max(0, self.count - len(self._queue.running))

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue.waiting)

    def enter(self, buyer: bytes, *, own: bool = False) -> SlotClaim:
        """Take a slot, or a place in the queue. The claim must be left.

        Raises:
            EngineError: ``too_many_requests`` or ``engine_busy``.
        """
        request = QueuedRequest(ticket=next(self.tickets), buyer=buyer, own=own)
        refused = refusal(self._queue, request, per_buyer=self._per_buyer)
        if refused is not None:
            refused.retry_after_s = self._eta_ms(1) / 1000
            raise refused
        claim = self._claims[request.ticket] = SlotClaim(self, request.ticket)
        self._move(entered(self._queue, request))
        return claim

    def place(self, ticket: int) -> int:
        """See ``AdmissionQueue.place``."""
        return self._queue.place(ticket)

    def eta_ms(self, ticket: int) -> int:
        """An estimate of how long this request still waits."""
        return self._eta_ms(self._queue.place(ticket))

    def _eta_ms(self, place: int) -> int:
        now_s = time.monotonic()
        ran_ms = [1000 * (now_s - self._claims[request.ticket].began_s) for request in self._queue.running]
        return eta_ms(place, ran_ms, self._request_ms())

    def leave(self, ticket: int) -> None:
        """The request is done or gave up; harmless when repeated."""
        if self._claims.pop(ticket, None) is not None:
            self._move(left(self._queue, ticket))

    def _move(self, queue: AdmissionQueue) -> None:
        self._queue = queue
        for request in queue.running:
            self._claims[request.ticket].begin()
        for request in queue.waiting:
            self._claims[request.ticket].moved.set()


class SlotClaim:
    """One request's slot, or its place in the queue. Leave it, or use it as a context manager."""

    def __init__(self, slots: Slots, ticket: int) -> None:
        self._slots = slots
        self.ticket = ticket
        self.moved = asyncio.Event()
        self.began_s = 0.0

    def begin(self) -> None:
        """The request runs from now on."""
        if not self.began_s:
            self.began_s = time.monotonic()
            self.moved.set()

    async def reached(self, on_wait: Callable[[int, int], None]) -> None:
        """Wait for the slot.

        Args:
            on_wait: Called with the place in the queue and the estimated milliseconds: at first, when the place
                changes, and every few seconds.
        """
        while (place := self._slots.place(self.ticket)) > 0:
            self.moved.clear()
            on_wait(place, self._slots.eta_ms(self.ticket))
            try:
                async with asyncio.timeout(self._slots.tell_s):
                    while self._slots.place(self.ticket) == place:
                        self.moved.clear()
                        await self.moved.wait()
            except TimeoutError:
                continue

    def leave(self) -> None:
        """Free the slot, or leave the queue; harmless when repeated."""
        self._slots.leave(self.ticket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
