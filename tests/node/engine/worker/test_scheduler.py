from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.cache import EVICT_AFTER_TOKENS, PrefixCache
from node.engine.worker.scheduler import BATCH_TOKENS, PRIORITY_SECONDS, ScheduledRequest, Scheduler, share_prefill
from node.engine.worker.swap import SwapSpace
from tests.node.engine.worker.fake_kv_cache import FakeKvCache

UNHURRIED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


class World:
    """A scheduler, a cache of values, and a model that answers with the token 7 until its answer is full."""

    def __init__(self, *, slots=2, context=100, cells=200, queue=2, partial=True, swap_bytes=0) -> None:
        self.memory = FakeKvCache(cells)
        self.cells = cells
        self.cache = PrefixCache(
            self.memory,
            cells=cells,
            sequences=slots * (2 if partial else 1),
            partial=partial,
            share_prefixes=False,
            swap=SwapSpace(swap_bytes),
            evict_after_tokens=0 if swap_bytes else EVICT_AFTER_TOKENS,
        )
        self.plan: Scheduler[ScheduledRequest] = Scheduler(
            self.cache, slots=slots, context_length=context, queue_limit=queue
        )
        self.ended: list[int] = []
        self.was_preempted: list[int] = []
        preempt = self.plan.preempt

        def watch(request: ScheduledRequest) -> None:
            assert request is not self.plan.running[0] or not request.ready, (
                "the one that came first is never preempted"
            )
            self.was_preempted.append(request.ticket)
            preempt(request)

        self.plan.preempt = watch  # type: ignore[method-assign]

    def submit(
        self, ticket: int, prompt: int = 10, max_output_tokens: int = 10, arrived_at: float | None = None, **more
    ) -> ScheduledRequest:
        tokens = [1000 * ticket + at for at in range(prompt)]
        request = ScheduledRequest(
            ticket=ticket,
            tokens=tokens,
            max_output_tokens=self.plan.max_output_for(prompt, max_output_tokens),
            arrived_at=float(ticket) if arrived_at is None else arrived_at,
            **more,
        )
        self.plan.submit(request)
        return request

    def step(self, *, beside: int = 16, alone: int = 64) -> int:
        """Admit, compute and draw; returns the tokens of the batch."""
        self.plan.admit()
        step = self.plan.plan(beside=beside, alone=alone)
        self.cache.tidy()
        for request in step.decoding:
            self._compute(request, 1)
        for request, share in step.prefilling:
            self._compute(request, share)
        assert self.memory.used == self.cells - self.cache.free_cells <= self.cells
        for request in [*step.decoding, *(request for request, _ in step.prefilling)]:
            assert self.memory.tokens[request.sequence] == request.tokens[: request.computed_tokens]
            if request.computed_tokens == len(request.tokens):
                request.tokens.append(7)
                if len(request.tokens) - request.prompt_tokens >= request.max_output_tokens:
                    self.plan.release(request)
                    self.ended.append(request.ticket)
        return len(step.decoding) + sum(share for _, share in step.prefilling)

    def _compute(self, request: ScheduledRequest, count: int) -> None:
        self.memory.compute(request.sequence, request.tokens[request.computed_tokens : request.computed_tokens + count])
        self.cache.grow(request.sequence, count)
        request.computed_tokens += count


def tickets(requests: list[ScheduledRequest]) -> list[int]:
    return [request.ticket for request in requests]


def test_requests_run_while_there_are_slots_and_then_wait_in_order():
    world = World()
    requests = [world.submit(ticket) for ticket in range(2)]
    assert tickets(world.plan.admit()) == [0, 1]
    world.submit(2)
    world.submit(3)
    assert world.plan.admit() == []
    assert len(world.plan.waiting) == 2
    world.plan.release(requests[1])
    assert tickets(world.plan.admit()) == [2]


def test_a_full_queue_refuses_as_busy():
    world = World(queue=0, slots=1)
    world.submit(0)
    world.plan.admit()
    with pytest.raises(EngineError) as error:
        world.submit(1)
    assert error.value.code == "engine_busy"


def test_a_prompt_that_leaves_no_room_is_too_long():
    world = World(context=20)
    assert world.plan.max_output_for(15, 100) == 5
    with pytest.raises(EngineError) as error:
        world.plan.max_output_for(20, 1)
    assert error.value.code == "context_too_long"


def test_priority_runs_first_but_not_before_one_that_waited_long():
    world = World(slots=1, queue=9)
    running = world.submit(0, arrived_at=0.0)
    world.plan.admit()
    world.submit(1, arrived_at=10.0)
    world.submit(2, arrived_at=20.0 - PRIORITY_SECONDS)
    world.submit(3, arrived_at=PRIORITY_SECONDS + 20.0 - PRIORITY_SECONDS)
    world.plan.release(running)
    order = []
    while admitted := world.plan.admit():
        order += tickets(admitted)
        world.plan.release(admitted[0])
    assert order == [2, 1, 3]


def test_a_request_is_admitted_with_a_share_of_its_answer_alone():
    world = World(slots=3, context=100, cells=256, queue=9)
    for ticket in range(3):
        world.submit(ticket, prompt=20, max_output_tokens=80)
    # Reserving whole answers would admit two.
    assert tickets(world.plan.admit()) == [0, 1, 2]


def test_answers_that_may_fill_the_context_are_answered_side_by_side():
    world = World(slots=4, context=8_000, cells=8_000, queue=9)
    for ticket in range(4):
        world.submit(ticket, prompt=1_000, max_output_tokens=7_000)
    assert tickets(world.plan.admit()) == [0, 1, 2, 3]


def test_when_the_cache_is_full_the_last_is_preempted_and_goes_on_later():
    world = World(slots=3, context=100, cells=150, queue=9)
    for ticket in range(3):
        world.submit(ticket, prompt=20, max_output_tokens=80)
    while len(world.ended) < 3:
        assert world.step()
    assert world.ended[0] == 0
    assert set(world.was_preempted) <= {1, 2}
    assert world.was_preempted


def test_one_whose_reader_is_behind_is_preempted_first_and_holds_nobody_up():
    world = World(slots=2, context=100, cells=110)
    first, _ = world.submit(0, prompt=30, max_output_tokens=70), world.submit(1, prompt=30, max_output_tokens=70)
    world.step()
    world.step()
    first.ready = False
    while 1 not in world.ended:
        world.step()
    assert world.was_preempted == [0]
    first.ready = True
    while 0 not in world.ended:
        assert world.step()


def test_nobody_waits_for_cells_of_those_who_can_not_go_on():
    world = World(slots=2, context=100, cells=100)
    stalled = world.submit(0, prompt=50, max_output_tokens=50)
    world.step()
    stalled.ready = False
    world.submit(1, prompt=60, max_output_tokens=40)
    while world.ended != [1]:
        assert world.step()


def test_releasing_is_the_same_for_those_who_run_wait_or_are_over():
    world = World(slots=1)
    first, second = world.submit(0), world.submit(1)
    world.plan.admit()
    assert not world.plan.idle
    world.plan.release(second)
    world.plan.release(first, keep=False)
    world.plan.release(first)
    assert world.plan.idle


def test_who_was_preempted_goes_on_without_computing_again_what_main_memory_holds():
    world = World(slots=2, context=100, cells=110, swap_bytes=1_000)
    world.submit(0, prompt=20, max_output_tokens=80)
    second = world.submit(1, prompt=20, max_output_tokens=80)
    while not world.was_preempted:
        assert world.step()
    so_far = len(second.tokens)
    assert (world.was_preempted, second.sequence) == ([1], -1)
    while second.sequence < 0:
        assert world.step()
    assert second.reused_tokens == so_far - 1 > 20
    while len(world.ended) < 2:
        assert world.step()


def test_everything_can_begin_again():
    world = World(swap_bytes=1_000)
    request = world.submit(0)
    world.step()
    world.plan.preempt_all()
    assert (request.computed_tokens, world.cache.free_cells) == (0, 200)
    while not world.ended:
        assert world.step()


def test_equal_streams_get_on_equally():
    world = World(slots=8, context=500, cells=8 * 500, queue=8)
    requests = [world.submit(ticket, prompt=20 + ticket, max_output_tokens=100) for ticket in range(8)]
    for _ in range(60):
        world.step()
    drawn = [len(request.tokens) - request.prompt_tokens for request in requests]
    assert min(drawn) / max(drawn) >= 0.9


def test_a_running_stream_waits_for_no_more_than_a_share_of_a_prompt():
    world = World(slots=2, context=5000, cells=10_000)
    world.submit(0, prompt=10, max_output_tokens=200)
    world.step()
    world.submit(1, prompt=2000, max_output_tokens=5, arrived_at=10.0)
    while 1 not in world.ended:
        assert world.step(beside=64, alone=512) <= 65


def test_requests_of_one_moment_are_not_held_back_for_the_first_of_them():
    world = World(slots=8, context=500, cells=8 * 500, queue=8)
    world.submit(0, prompt=35, max_output_tokens=100, arrived_at=0.0)
    assert world.step(beside=16, alone=512) == 35
    for ticket in range(1, 8):
        world.submit(ticket, prompt=35, max_output_tokens=100, arrived_at=0.01 * ticket)
    assert world.step(beside=16, alone=512) == 1 + 7 * 35


@UNHURRIED
@given(
    slots=st.integers(1, 4),
    cells=st.integers(60, 140),
    partial=st.booleans(),
    swap_bytes=st.sampled_from([0, 500, 5_000]),
    requests=st.lists(
        st.tuples(st.integers(1, 59), st.integers(1, 59), st.integers(0, 3), st.booleans()), min_size=1, max_size=10
    ),
    data=st.data(),
)
def test_every_admitted_request_ends_and_the_cache_never_overflows(slots, cells, partial, swap_bytes, requests, data):
    world = World(slots=slots, context=60, cells=cells, queue=20, partial=partial, swap_bytes=swap_bytes)
    submitted = []
    for ticket, (prompt, max_output_tokens, priority, stalls) in enumerate(requests):
        submitted.append(
            (world.submit(ticket, prompt, max_output_tokens, arrived_at=ticket - PRIORITY_SECONDS * priority), stalls)
        )
        for _ in range(data.draw(st.integers(0, 5))):
            world.step()
            for request, may_stall in submitted:
                request.ready = not may_stall or data.draw(st.booleans())
    for request, _ in submitted:
        request.ready = True
    steps = 0
    while len(world.ended) < len(submitted):
        assert world.step(), "it goes on until all have ended"
        steps += 1
        assert steps < 5_000
    assert sorted(world.ended) == list(range(len(submitted)))


@UNHURRIED
@given(st.lists(st.integers(0, 700), max_size=8), st.integers(-1, BATCH_TOKENS))
def test_shares_use_the_room_and_no_more(pending, budget):
    shares = share_prefill(pending, budget)
    assert all(0 <= share <= need for share, need in zip(shares, pending, strict=True))
    assert sum(shares) == min(max(0, budget), sum(pending))
    # Nobody gets less than another who could use as much.
    short = [share for share, need in zip(shares, pending, strict=True) if share < need]
    assert not short or max(shares) - min(short) <= 1
