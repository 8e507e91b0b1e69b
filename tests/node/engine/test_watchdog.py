from __future__ import annotations

import asyncio

import pytest

from node.engine import ipc
from node.engine.watchdog import (
    LEAST_STALL_SECONDS,
    MOST_PATIENCE,
    STALL_BATCHES,
    Progress,
    Watchdog,
    silence_s,
)
from tests.patience import PATIENCE_S


class Worker:
    """A worker in values: what it does each time that somebody looks."""

    def __init__(self, *, answers: bool = False, computes: float = 0.0, reads: int = 0) -> None:
        self.answers, self.computes, self.reads = answers, computes, reads
        self.heard_at = -1.0
        self.now = 0.0
        self.asked = 0
        self.looks = 0

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def send(self, *items: ipc.ToWorker) -> None:
        self.asked += len(items)
        if self.answers:
            self.heard_at = self.now
            if self.asked >= 25:
                self.answers = False

    def progress(self) -> Progress:
        self.looks += 1
        return Progress(self.looks * self.computes, self.looks * self.reads)


async def watch(worker: Worker, *, loaded: bool = True) -> Watchdog:
    watchdog = Watchdog(0.0, 0, 0.0)
    watchdog.loaded = loaded
    async with asyncio.timeout(PATIENCE_S):
        await watchdog.until_stalled(worker, worker.clock)
    return watchdog


async def test_one_that_neither_answers_nor_computes_is_given_up_at_once():
    worker = Worker(computes=-1.0)
    await watch(worker)
    assert worker.asked == 1


async def test_one_that_answers_is_left_alone():
    worker = Worker(answers=True, computes=-1.0)
    await watch(worker)
    assert worker.asked > 25


@pytest.mark.parametrize("does", [{"computes": 1.0}, {"reads": 4096, "computes": -1.0}], ids=str)
async def test_one_that_gets_on_without_a_word_has_time_but_not_for_ever(does: dict[str, float]):
    worker = Worker(**does)
    await watch(worker)
    assert worker.asked == MOST_PATIENCE


async def test_one_that_loads_is_not_asked():
    worker = Worker(computes=-1.0)
    await watch(worker, loaded=False)
    assert worker.asked == 0


def test_deadlines_follow_the_measured_speed():
    watchdog = Watchdog(LEAST_STALL_SECONDS, 400_000_000_000)
    assert watchdog.deadline_s > 1_000, "a huge file on a slow disk"
    watchdog.loaded = True
    assert watchdog.deadline_s == LEAST_STALL_SECONDS
    watchdog.step_s = 30.0
    assert watchdog.deadline_s == 30.0 * STALL_BATCHES


def test_a_stream_may_be_silent_while_what_was_asked_for_is_computed():
    assert silence_s(20.0, 0, 0.0) == silence_s(20.0, 500, 0.0) == 20.0 * MOST_PATIENCE
    assert silence_s(20.0, 4_000, 1.0) > 4_000
    assert silence_s(20.0, 4_000, 100.0) < 400
