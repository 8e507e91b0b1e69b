"""A limit for one wait after the other."""

from __future__ import annotations

import asyncio

import pytest

from node.runtime.deadline import Deadline, ending_late_waits


async def test_a_wait_that_passes_its_limit_is_told_once():
    rings: list[str] = []
    late = asyncio.Event()

    def ring() -> None:
        rings.append("late")
        late.set()

    deadline = Deadline(ring)
    deadline.begin(0.01)
    await late.wait()
    await after(0.02)
    assert rings == ["late"]
    deadline.close()


async def test_a_wait_that_ended_in_time_is_not_told_whatever_follows_it():
    rings: list[str] = []
    deadline = Deadline(lambda: rings.append("late"))
    deadline.begin(0.01)
    deadline.end()
    await after(0.02)
    assert rings == []
    # The timer of a first wait rings within the second, which has its own limit.
    deadline.begin(0.01)
    deadline.end()
    deadline.begin(0.04)
    asyncio.get_running_loop().call_later(0.02, rings.append, "meanwhile")
    await after(0.06)
    assert rings == ["meanwhile", "late"]
    deadline.close()


async def test_a_shorter_limit_counts_at_once():
    rings: list[str] = []
    deadline = Deadline(lambda: rings.append("late"))
    deadline.begin(3_600)
    deadline.end()
    deadline.begin(0.01)
    await after(0.02)
    assert rings == ["late"]
    deadline.close()


async def test_nothing_is_told_after_the_end():
    rings: list[str] = []
    deadline = Deadline(lambda: rings.append("late"))
    deadline.begin(0.01)
    deadline.close()
    deadline.close()
    await after(0.02)
    assert rings == []


async def test_a_late_wait_ends_the_block_it_is_in():
    async def wait_for_ever() -> None:
        async with ending_late_waits() as deadline:
            deadline.begin(0.01)
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        await wait_for_ever()


async def test_waits_in_time_leave_the_block_alone_and_nothing_rings_after_it():
    async with ending_late_waits() as deadline:
        deadline.begin(0.01)
        deadline.end()
        await after(0.02)
        deadline.begin(0.01)
    await after(0.02)


async def after(seconds: float) -> None:
    """Until everything that was due by then has happened: timers run in the order in which they are due."""
    passed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, passed.set_result, None)
    await passed
