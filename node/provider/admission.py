"""The line in front of the engine, as rules: who runs, who waits in which order, who is refused; pure.

The owner's own requests go before all others that wait, and never interrupt one that runs. Among strangers it is first
come, first served. A free slot is anybody's; but whoever has several requests here already may not wait with more, so
nobody can fill the line alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import msgspec

from node.engine.protocol import EngineError

WAITING_PER_SLOT: Final = 4
REQUESTS_PER_BUYER: Final = 4
"""With so many here, running and waiting together, a buyer's account gets no more but a slot that is free."""


class QueuedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request in the line."""

    ticket: int
    buyer: bytes
    """Whose account pays."""
    own: bool = False
    """Whether that is the owner of this node."""


class AdmissionQueue(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs and who waits, the next one first."""

    slots: int
    running: tuple[QueuedRequest, ...] = ()
    waiting: tuple[QueuedRequest, ...] = ()

    def place(self, ticket: int) -> int:
        """0 for one that runs, 1 for the next in line, and so on; -1 for one that left."""
        for place, request in enumerate(self.waiting, 1):
            if request.ticket == ticket:
                return place
        return 0 if any(request.ticket == ticket for request in self.running) else -1


def refusal(
    queue: AdmissionQueue, request: QueuedRequest, *, per_buyer: int = REQUESTS_PER_BUYER
) -> EngineError | None:
    """Why this request may not even wait, if it may not; the owner's own always may."""
    if request.own:
        return None
    if not queue.waiting and len(queue.running) < queue.slots:
        return None
    held = sum(other.buyer == request.buyer for other in (*queue.running, *queue.waiting))
    if held >= per_buyer:
        return EngineError(
            f"Every slot is busy, and this buyer has {held} requests here already.",
            code="too_many_requests",
            fix="Wait until one of them has ended, or choose another offer.",
        )
    if len(queue.waiting) >= queue.slots * WAITING_PER_SLOT:
        return EngineError(
            "Every slot is busy and the line is full.", code="engine_busy", fix="Try again later, or another offer."
        )
    return None


def entered(queue: AdmissionQueue, request: QueuedRequest) -> AdmissionQueue:
    """The line with this request at its place, or running if there is a slot."""
    if not queue.waiting and len(queue.running) < queue.slots:
        return msgspec.structs.replace(queue, running=(*queue.running, request))
    ahead = sum(other.own for other in queue.waiting) if request.own else len(queue.waiting)
    waiting = (*queue.waiting[:ahead], request, *queue.waiting[ahead:])
    return msgspec.structs.replace(queue, waiting=waiting)


def left(queue: AdmissionQueue, ticket: int) -> AdmissionQueue:
    """The line without this request, wherever it stood; whoever is next takes a slot that came free."""
    running = tuple(request for request in queue.running if request.ticket != ticket)
    waiting = tuple(request for request in queue.waiting if request.ticket != ticket)
    free = max(0, queue.slots - len(running))
    return AdmissionQueue(slots=queue.slots, running=(*running, *waiting[:free]), waiting=waiting[free:])


def eta_ms(place: int, ran_ms: Sequence[float], request_ms: float) -> int:
    """About how long the request at this place still waits for its slot.

    Each running request is taken to need as long as requests did lately; one that took longer already, a quarter more.

    Args:
        place: 1 for the next in line; 0 for one that runs.
        ran_ms: How long each running request has run, one for each slot.
        request_ms: How long a request took lately.
    """
    if place <= 0 or not ran_ms:
        return 0
    ends_ms = [max(request_ms - ran, request_ms / 4) for ran in ran_ms]
    heapq.heapify(ends_ms)
    for _ in range(place - 1):
        heapq.heapreplace(ends_ms, ends_ms[0] + request_ms)
    return int(ends_ms[0])
