"""The line in front of the engine: its rules, and the slots that are handed out by them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.buyer.turn import ordinal, queue_place
from node.engine.protocol import EngineError
from node.provider.admission import WAITING_PER_SLOT, AdmissionQueue, QueuedRequest, entered, eta_ms, left, refusal
from node.provider.slots import SlotClaim, Slots
from tests.patience import PATIENCE_S

comings = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()) | st.integers(0, 30), min_size=1, max_size=40
)


def after(slots: int, moves) -> tuple[AdmissionQueue, list[QueuedRequest]]:
    """The line after requests came and went, and everyone who was let in."""
    queue, let_in = AdmissionQueue(slots=slots), []
    for ticket, move in enumerate(moves):
        if isinstance(move, int):
            queue = left(queue, move)
            continue
        request = QueuedRequest(ticket=ticket, buyer=move[0], own=move[1])
        if refusal(queue, request) is None:
            queue = entered(queue, request)
            let_in.append(request)
        check(queue)
    return queue, let_in


def check(queue: AdmissionQueue) -> None:
    assert len(queue.running) <= queue.slots
    assert not queue.waiting or len(queue.running) == queue.slots, "a slot stays free only when nobody waits"
    assert [request.own for request in queue.waiting] == sorted((w.own for w in queue.waiting), reverse=True)
    for own in (True, False):
        tickets = [request.ticket for request in queue.waiting if request.own is own]
        assert tickets == sorted(tickets), "first come, first served"
    strangers = [request for request in queue.waiting if not request.own]
    assert len(strangers) <= queue.slots * WAITING_PER_SLOT
    everyone = (*queue.running, *queue.waiting)
    assert len({request.ticket for request in everyone}) == len(everyone)


@settings(max_examples=120)
@given(slots=st.integers(1, 4), moves=comings)
def test_slots_are_never_wasted_nor_overfilled_and_the_owner_goes_first(slots, moves):
    queue, _ = after(slots, moves)
    check(queue)


@settings(max_examples=80)
@given(slots=st.integers(1, 4), moves=comings)
def test_everyone_let_in_gets_a_slot_once_those_before_are_done(slots, moves):
    queue, _ = after(slots, moves)
    while queue.waiting:
        first = queue.waiting[0]
        queue = left(queue, queue.running[0].ticket)
        assert queue.place(first.ticket) == 0
    assert queue.place(10_000) == -1


@settings(max_examples=60)
@given(slots=st.integers(1, 4), moves=comings, buyer=st.sampled_from([b"a", b"b"]))
def test_one_buyer_alone_never_fills_the_line(slots, moves, buyer):
    queue, _ = after(slots, moves)
    while refusal(queue, QueuedRequest(ticket=10_000, buyer=buyer), per_buyer=2) is None and queue.waiting:
        queue = entered(queue, QueuedRequest(ticket=10_000 + len(queue.waiting), buyer=buyer))
    own = sum(request.buyer == buyer and request.ticket >= 10_000 for request in queue.waiting)
    assert own <= 2


def test_a_free_slot_is_anybodys_and_a_place_in_line_is_not():
    queue = AdmissionQueue(slots=6)
    for ticket in range(6):
        assert refusal(queue, QueuedRequest(ticket=ticket, buyer=b"a")) is None
        queue = entered(queue, QueuedRequest(ticket=ticket, buyer=b"a"))
    refused = refusal(queue, QueuedRequest(ticket=9, buyer=b"a"))
    assert refused is not None
    assert refused.code == "too_many_requests"
    assert refused.fix
    assert refusal(queue, QueuedRequest(ticket=9, buyer=b"b")) is None
    assert refusal(queue, QueuedRequest(ticket=9, buyer=b"a", own=True)) is None


@settings(max_examples=80)
@given(ran=st.lists(st.floats(0, 1e6), min_size=1, max_size=8), request=st.floats(1, 1e6), place=st.integers(1, 20))
def test_who_stands_further_back_never_waits_less(ran, request, place):
    assert 0 <= eta_ms(place, ran, request) <= eta_ms(place + 1, ran, request)


def test_the_estimate_knows_how_long_the_running_ones_ran():
    assert eta_ms(1, [3_000.0, 9_000.0], 10_000) == 2_500, "one that is nearly due is given a quarter more"
    assert eta_ms(2, [3_000.0, 9_000.0], 10_000) == 7_000
    assert eta_ms(0, [1.0], 10_000) == eta_ms(3, [], 10_000) == 0


def test_the_place_is_said_in_words():
    assert queue_place(2, 13_400) == "2nd in the queue, about 14 s."
    assert queue_place(1, 0) == "1st in the queue."
    assert queue_place(0, 0) == "Next in the queue."
    assert queue_place(3, 300_000) == "3rd in the queue, about 5 min."
    assert queue_place(1 << 20, 1 << 40) == "1048576th in the queue, about 24 h."
    assert [ordinal(n) for n in (11, 12, 13, 21, 111)] == ["11th", "12th", "13th", "21st", "111th"]


# The slots themselves


async def running(place: SlotClaim, told: list) -> None:
    await place.reached(lambda position, eta: told.append(position))


async def test_those_who_wait_hear_every_move_of_the_line():
    slots = Slots(1, lambda: 1_000.0)
    first, second, third = (slots.enter(name) for name in (b"a", b"b", b"c"))
    await running(first, told := [])
    assert told == []
    assert (slots.free, slots.waiting) == (0, 2)
    waits: list[int] = []
    waiting = asyncio.create_task(running(third, waits))
    await asyncio.sleep(0)
    owner = slots.enter(b"me", own=True)
    await asyncio.sleep(0)
    assert waits == [2, 3]
    for place in (first, owner, second):
        place.leave()
        await asyncio.sleep(0)
    await waiting
    assert waits == [2, 3, 2, 1]
    third.leave()
    third.leave()
    assert (slots.free, slots.waiting) == (1, 0)


async def test_a_slot_left_by_someone_who_never_came_goes_to_the_next():
    slots = Slots(1, lambda: 0.0)
    first, second, third = (slots.enter(name) for name in (b"a", b"b", b"c"))
    waiting = asyncio.create_task(running(third, []))
    await asyncio.sleep(0)
    second.leave()
    first.leave()
    await waiting
    assert slots.place(third.ticket) == 0
    assert slots.eta_ms(third.ticket) == 0


async def test_the_line_is_bounded():
    slots = Slots(1, lambda: 0.0)
    for number in range(1 + WAITING_PER_SLOT):
        slots.enter(bytes([number]))
    with pytest.raises(EngineError) as refused:
        slots.enter(b"late")
    assert refused.value.code == "engine_busy"


async def test_who_waits_hears_now_and_then_that_it_still_does():
    slots = Slots(1, lambda: 1_000.0, tell_s=0.01)
    with slots.enter(b"a"), slots.enter(b"b") as second:
        heard = asyncio.Event()
        told: list[int] = []

        def on_wait(position: int, eta: int) -> None:
            told.append(position)
            if len(told) == 3:
                heard.set()

        waiting = asyncio.create_task(second.reached(on_wait))
        async with asyncio.timeout(PATIENCE_S):
            await heard.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert told == [1, 1, 1]
