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


class Waiter(msgspec.Struct, frozen=True, kw_only=True):
    """One request in the line."""

    ticket: int
    buyer: bytes
    """Whose account pays."""
    own: bool = False
    """Whether that is the owner of this node."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs and who waits, the next one first."""

    slots: int
    running: tuple[Waiter, ...] = ()
    waiting: tuple[Waiter, ...] = ()

    def place(self, ticket: int) -> int:
        """0 for one that runs, 1 for the next in line, and so on; -1 for one that left."""
        for place, waiter in enumerate(self.waiting, 1):
            if waiter.ticket == ticket:
                return place
        return 0 if any(waiter.ticket == ticket for waiter in self.running) else -1


def refusal(line: Line, waiter: Waiter, *, per_buyer: int = REQUESTS_PER_BUYER) -> EngineError | None:
    """Why this request may not even wait, if it may not; the owner's own always may."""
    if waiter.own:
        return None
    if not line.waiting and len(line.running) < line.slots:
        return None
    held = sum(other.buyer == waiter.buyer for other in (*line.running, *line.waiting))
    if held >= per_buyer:
        return EngineError(
            f"Every slot is busy, and this buyer has {held} requests here already.",
            code="too_many_requests",
            fix="Wait until one of them has ended, or choose another offer.",
        )
    if len(line.waiting) >= line.slots * WAITING_PER_SLOT:
        return EngineError(
            "Every slot is busy and the line is full.", code="engine_busy", fix="Try again later, or another offer."
        )
    return None


def entered(line: Line, waiter: Waiter) -> Line:
    """The line with this request at its place, or running if there is a slot."""
    if not line.waiting and len(line.running) < line.slots:
        return msgspec.structs.replace(line, running=(*line.running, waiter))
    ahead = sum(other.own for other in line.waiting) if waiter.own else len(line.waiting)
    waiting = (*line.waiting[:ahead], waiter, *line.waiting[ahead:])
    return msgspec.structs.replace(line, waiting=waiting)


def left(line: Line, ticket: int) -> Line:
    """The line without this request, wherever it stood; whoever is next takes a slot that came free."""
    running = tuple(waiter for waiter in line.running if waiter.ticket != ticket)
    waiting = tuple(waiter for waiter in line.waiting if waiter.ticket != ticket)
    free = max(0, line.slots - len(running))
    return Line(slots=line.slots, running=(*running, *waiting[:free]), waiting=waiting[free:])


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
