from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.scheduler import BATCH_TOKENS, SHARED_PREFILL_TOKENS, Scheduler, share_prefill

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def scheduler(slots=2, context=100, cells=200, queue=2) -> Scheduler:
    return Scheduler(slots=slots, context_length=context, cache_tokens=cells, queue_limit=queue)


def test_requests_run_while_there_are_slots_and_then_wait_in_order():
    plan = scheduler()
    for ticket in range(4):
        plan.submit(ticket, 10, 10)
        admitted = [one.ticket for one in plan.admit()]
        assert admitted == ([ticket] if ticket < 2 else [])
    assert plan.waiting == 2
    plan.release(1)
    assert [one.ticket for one in plan.admit()] == [2]


def test_a_full_queue_refuses_as_busy():
    plan = scheduler(queue=0)
    plan.submit(0, 1, 1)
    plan.admit()
    plan.submit(1, 1, 1)
    plan.admit()
    with pytest.raises(EngineError) as error:
        plan.submit(2, 1, 1)
    assert error.value.code == "engine_busy"


def test_a_prompt_that_fills_the_context_is_too_long():
    plan = scheduler(context=100)
    with pytest.raises(EngineError) as error:
        plan.submit(0, 100, 1)
    assert error.value.code == "context_too_long"
    assert plan.idle


def test_an_answer_is_cut_to_what_the_context_leaves():
    assert scheduler(context=100).answer_room(90, 50) == 10


def test_a_request_waits_for_room_in_the_cache_even_with_a_free_slot():
    plan = scheduler(slots=4, context=100, cells=150)
    plan.submit(0, 50, 50)
    plan.submit(1, 50, 50)
    assert [one.ticket for one in plan.admit()] == [0]
    plan.release(0)
    assert [one.ticket for one in plan.admit()] == [1]


def test_a_waiting_request_can_be_released():
    plan = scheduler(slots=1)
    for ticket in (0, 1):
        plan.submit(ticket, 1, 1)
        plan.admit()
    plan.release(1)
    plan.release(99)
    plan.release(0)
    assert plan.idle


@UNHURRIED
@given(
    st.lists(st.tuples(st.sampled_from(["submit", "release"]), st.integers(0, 12), st.integers(1, 120)), max_size=60)
)
def test_slots_and_cells_are_never_given_twice_and_all_come_back(steps):
    plan = scheduler(slots=3, context=100, cells=160, queue=4)
    running: dict[int, tuple[int, int]] = {}
    known: set[int] = set()
    for action, ticket, tokens in steps:
        if action == "submit" and ticket not in known:
            with contextlib.suppress(EngineError):
                plan.submit(ticket, tokens, 20)
                known.add(ticket)
        elif action == "release":
            plan.release(ticket)
            running.pop(ticket, None)
            known.discard(ticket)
        for one in plan.admit():
            running[one.ticket] = (one.slot, one.cells)
        slots = [slot for slot, _ in running.values()]
        assert len(set(slots)) == len(slots) <= 3
        assert sum(cells for _, cells in running.values()) + plan.free_cells == 160
    for ticket in known:
        plan.release(ticket)
    assert plan.idle
    assert plan.free_cells == 160


@UNHURRIED
@given(st.lists(st.integers(0, 2000), max_size=8), st.integers(0, 8))
def test_a_batch_is_shared_out_completely_and_fairly(pending, decoding):
    shares = share_prefill(pending, decoding=decoding)
    limit = min(BATCH_TOKENS - decoding, SHARED_PREFILL_TOKENS) if decoding else BATCH_TOKENS
    assert sum(shares) == min(limit, sum(pending))
    assert all(0 <= share <= need for share, need in zip(shares, pending, strict=True))
    unfinished = [share for share, need in zip(shares, pending, strict=True) if share < need]
    assert not unfinished or max(shares) - min(unfinished) <= max(1, limit)
    assert all(share >= limit // len(pending) for share in unfinished)


def test_prompts_leave_room_for_those_who_decode():
    assert share_prefill([1000], decoding=2) == [SHARED_PREFILL_TOKENS]
    assert share_prefill([1000], decoding=BATCH_TOKENS) == [0]
