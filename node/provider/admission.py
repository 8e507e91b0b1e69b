"""The admission queue in front of the engine: pure rules for which request runs, waits or is refused.

The owner's requests go before all others that wait. They never interrupt a request that runs. Strangers are served in
the order in which they came. Any request may take a free slot. A buyer with several requests here may not queue more,
so that no buyer can fill the queue alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import msgspec

from node.engine.protocol import EngineError

WAITING_PER_SLOT: Final = 4
REQUESTS_PER_BUYER: Final = 4
"""A buyer's account with so many requests, running and waiting together, can't queue another one."""


class QueuedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request in the queue."""

    ticket: int
    buyer: bytes
    """The account that pays; 20 bytes."""
    own: bool = False
    """Whether the buyer is the owner of this node."""


class AdmissionQueue(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that run and those that wait, the next one first."""

    slots: int
    running: tuple[QueuedRequest, ...] = ()
    waiting: tuple[QueuedRequest, ...] = ()

    def place(self, ticket: int) -> int:
        """0 for a running request, 1 for the next one, and so on; -1 for one that left."""
        for place, request in enumerate(self.waiting, 1):
            if request.ticket == ticket:
                return place
        return 0 if any(request.ticket == ticket for request in self.running) else -1


def refusal(
    queue: AdmissionQueue, request: QueuedRequest, *, per_buyer: int = REQUESTS_PER_BUYER
) -> EngineError | None:
    """Why this request may not wait; ``None`` where it may. The owner's requests always may."""
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
            "Every slot is busy and the queue is full.", code="engine_busy", fix="Try again later, or another offer."
        )
    return None


def entered(queue: AdmissionQueue, request: QueuedRequest) -> AdmissionQueue:
    """The queue with this request in it, running if a slot is free."""
    if not queue.waiting and len(queue.running) < queue.slots:
        return msgspec.structs.replace(queue, running=(*queue.running, request))
    ahead = sum(other.own for other in queue.waiting) if request.own else len(queue.waiting)
    waiting = (*queue.waiting[:ahead], request, *queue.waiting[ahead:])
    return msgspec.structs.replace(queue, waiting=waiting)


def left(queue: AdmissionQueue, ticket: int) -> AdmissionQueue:
    """The queue without this request; the next one takes its slot if it had one."""
    running = tuple(request for request in queue.running if request.ticket != ticket)
    waiting = tuple(request for request in queue.waiting if request.ticket != ticket)
    free = max(0, queue.slots - len(running))
    return AdmissionQueue(slots=queue.slots, running=(*running, *waiting[:free]), waiting=waiting[free:])


def eta_ms(place: int, ran_ms: Sequence[float], request_ms: float) -> int:
    """An estimate of how long the request at this place still waits for a slot.

    Each running request is expected to take as long as requests took lately. One that took longer already is expected
    to take a quarter of that time more.

    Args:
        place: 1 for the next one in the queue; 0 for one that runs.
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
