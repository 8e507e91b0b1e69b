from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.cache import EVICT_AFTER_TOKENS, PrefixCache
from node.engine.worker.scheduler import BATCH_TOKENS, PRIORITY_SECONDS, Job, Scheduler, share_prefill
from node.engine.worker.swap import SwapSpace
from tests.node.engine.worker.books import FakeMemory

UNHURRIED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


class World:
    """A scheduler, a cache of values, and a model that answers with the token 7 until its room is used."""

    def __init__(self, *, slots=2, context=100, cells=200, queue=2, partial=True, swap_bytes=0) -> None:
        self.memory = FakeMemory(cells)
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
        self.plan: Scheduler[Job] = Scheduler(self.cache, slots=slots, context_length=context, queue_limit=queue)
        self.ended: list[int] = []
        self.made_way: list[int] = []
        make_way = self.plan.make_way

        def watch(job: Job) -> None:
            assert job is not self.plan.running[0] or not job.ready, "who came first never makes way"
            self.made_way.append(job.ticket)
            make_way(job)

        self.plan.make_way = watch  # type: ignore[method-assign]

    def submit(self, ticket: int, prompt: int = 10, room: int = 10, came_at: float | None = None, **more) -> Job:
        tokens = [1000 * ticket + at for at in range(prompt)]
        job = Job(
            ticket=ticket,
            tokens=tokens,
            room=self.plan.answer_room(prompt, room),
            came_at=float(ticket) if came_at is None else came_at,
            **more,
        )
        self.plan.submit(job)
        return job

    def step(self, *, beside: int = 16, alone: int = 64) -> int:
        """Admit, compute and draw; returns the tokens of the batch."""
        self.plan.admit()
        step = self.plan.plan(beside=beside, alone=alone)
        self.cache.tidy()
        for job in step.decoding:
            self._compute(job, 1)
        for job, share in step.reading:
            self._compute(job, share)
        assert self.memory.used == self.cells - self.cache.free_cells <= self.cells
        for job in [*step.decoding, *(job for job, _ in step.reading)]:
            assert self.memory.tokens[job.number] == job.tokens[: job.position]
            if job.position == len(job.tokens):
                job.tokens.append(7)
                if len(job.tokens) - job.prompt_tokens >= job.room:
                    self.plan.release(job)
                    self.ended.append(job.ticket)
        return len(step.decoding) + sum(share for _, share in step.reading)

    def _compute(self, job: Job, count: int) -> None:
        self.memory.compute(job.number, job.tokens[job.position : job.position + count])
        self.cache.grow(job.number, count)
        job.position += count


def tickets(jobs: list[Job]) -> list[int]:
    return [job.ticket for job in jobs]


def test_requests_run_while_there_are_slots_and_then_wait_in_order():
    world = World()
    jobs = [world.submit(ticket) for ticket in range(2)]
    assert tickets(world.plan.admit()) == [0, 1]
    world.submit(2)
    world.submit(3)
    assert world.plan.admit() == []
    assert world.plan.waiting == 2
    world.plan.release(jobs[1])
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
    assert world.plan.answer_room(15, 100) == 5
    with pytest.raises(EngineError) as error:
        world.plan.answer_room(20, 1)
    assert error.value.code == "context_too_long"


def test_priority_runs_first_but_not_before_one_that_waited_long():
    world = World(slots=1, queue=9)
    running = world.submit(0, came_at=0.0)
    world.plan.admit()
    world.submit(1, came_at=10.0)
    world.submit(2, came_at=20.0 - PRIORITY_SECONDS)
    world.submit(3, came_at=PRIORITY_SECONDS + 20.0 - PRIORITY_SECONDS)
    world.plan.release(running)
    order = []
    while admitted := world.plan.admit():
        order += tickets(admitted)
        world.plan.release(admitted[0])
    assert order == [2, 1, 3]


def test_a_request_is_admitted_with_a_share_of_its_answer_alone():
    world = World(slots=3, context=100, cells=256, queue=9)
    for ticket in range(3):
        world.submit(ticket, prompt=20, room=80)
    # Reserving whole answers would admit two.
    assert tickets(world.plan.admit()) == [0, 1, 2]


def test_when_the_cache_is_full_the_last_makes_way_and_goes_on_later():
    world = World(slots=3, context=100, cells=150, queue=9)
    for ticket in range(3):
        world.submit(ticket, prompt=20, room=80)
    while len(world.ended) < 3:
        assert world.step()
    assert world.ended[0] == 0
    assert set(world.made_way) <= {1, 2}
    assert world.made_way


def test_one_whose_reader_is_behind_makes_way_first_and_holds_nobody_up():
    world = World(slots=2, context=100, cells=110)
    first, _ = world.submit(0, prompt=30, room=70), world.submit(1, prompt=30, room=70)
    world.step()
    world.step()
    first.ready = False
    while 1 not in world.ended:
        world.step()
    assert world.made_way == [0]
    first.ready = True
    while 0 not in world.ended:
        assert world.step()


def test_nobody_waits_for_cells_of_those_who_can_not_go_on():
    world = World(slots=2, context=100, cells=100)
    stalled = world.submit(0, prompt=50, room=50)
    world.step()
    stalled.ready = False
    world.submit(1, prompt=60, room=40)
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


def test_who_made_way_goes_on_without_computing_again_what_main_memory_holds():
    world = World(slots=2, context=100, cells=110, swap_bytes=1_000)
    world.submit(0, prompt=20, room=80)
    second = world.submit(1, prompt=20, room=80)
    while not world.made_way:
        assert world.step()
    so_far = len(second.tokens)
    assert (world.made_way, second.number) == ([1], -1)
    while second.number < 0:
        assert world.step()
    assert second.reused == so_far - 1 > 20
    while len(world.ended) < 2:
        assert world.step()


def test_everything_can_begin_again():
    world = World(swap_bytes=1_000)
    job = world.submit(0)
    world.step()
    world.plan.make_all_way()
    assert (job.position, world.cache.free_cells) == (0, 200)
    while not world.ended:
        assert world.step()


def test_equal_streams_get_on_equally():
    world = World(slots=8, context=500, cells=8 * 500, queue=8)
    jobs = [world.submit(ticket, prompt=20 + ticket, room=100) for ticket in range(8)]
    for _ in range(60):
        world.step()
    drawn = [len(job.tokens) - job.prompt_tokens for job in jobs]
    assert min(drawn) / max(drawn) >= 0.9


def test_a_running_stream_waits_for_no_more_than_a_share_of_a_prompt():
    world = World(slots=2, context=5000, cells=10_000)
    world.submit(0, prompt=10, room=200)
    world.step()
    world.submit(1, prompt=2000, room=5, came_at=10.0)
    while 1 not in world.ended:
        assert world.step(beside=64, alone=512) <= 65


def test_requests_of_one_moment_are_not_held_back_for_the_first_of_them():
    world = World(slots=8, context=500, cells=8 * 500, queue=8)
    world.submit(0, prompt=35, room=100, came_at=0.0)
    assert world.step(beside=16, alone=512) == 35
    for ticket in range(1, 8):
        world.submit(ticket, prompt=35, room=100, came_at=0.01 * ticket)
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
    jobs = []
    for ticket, (prompt, room, priority, stalls) in enumerate(requests):
        jobs.append((world.submit(ticket, prompt, room, came_at=ticket - PRIORITY_SECONDS * priority), stalls))
        for _ in range(data.draw(st.integers(0, 5))):
            world.step()
            for job, may_stall in jobs:
                job.ready = not may_stall or data.draw(st.booleans())
    for job, _ in jobs:
        job.ready = True
    steps = 0
    while len(world.ended) < len(jobs):
        assert world.step(), "it goes on until all have ended"
        steps += 1
        assert steps < 5_000
    assert sorted(world.ended) == list(range(len(jobs)))


@UNHURRIED
@given(st.lists(st.integers(0, 700), max_size=8), st.integers(-1, BATCH_TOKENS))
def test_shares_use_the_room_and_no_more(pending, budget):
    shares = share_prefill(pending, budget)
    assert all(0 <= share <= need for share, need in zip(shares, pending, strict=True))
    assert sum(shares) == min(max(0, budget), sum(pending))
    # Nobody gets less than another who could use as much.
    short = [share for share, need in zip(shares, pending, strict=True) if share < need]
    assert not short or max(shares) - min(short) <= 1
