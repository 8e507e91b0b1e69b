"""What ``idlewatt serve`` tells on stderr while it rents out."""

from __future__ import annotations

import asyncio

import msgspec

from app.cli.common import speed_said
from app.cli.serve import tell
from node.values import Phase, PriceAdvice, Prices
from tests.patience import PATIENCE_S
from tests.screens.fake_node import FakeNode, job, snapshot


async def test_jobs_of_earlier_runs_are_not_told_as_done_now(capsys):
    old, new = job(1, amount_nano=1_000), job(2, amount_nano=2_000)
    node = FakeNode(snapshot(active_jobs=(), recent_jobs=(old,)))
    telling = asyncio.create_task(tell(node, {old.job_id}))
    node.change("jobs")
    node.change("jobs", recent_jobs=(new, old))
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        while "earned" not in said:
            await asyncio.sleep(0)
            said += capsys.readouterr().err
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert [line for line in said.splitlines() if "earned" in line] == [
        "· done: 24 in + 42 out at 118.4 tok/s, $0.000002 earned"
    ]


async def test_what_already_keeps_it_from_renting_out_is_told_at_once(capsys):
    node = FakeNode(snapshot(phase=Phase.DEGRADED, why="The clock is 7 min ahead.", fix="Set it."))
    telling = asyncio.create_task(tell(node, frozenset()))
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        while not said:
            await asyncio.sleep(0)
            said = capsys.readouterr().err
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert said.splitlines()[0] == "· degraded: The clock is 7 min ahead. Set it."


async def test_a_suggested_price_is_told_again_only_when_it_changes(capsys):
    floors = [Prices(input_nano_per_mtok=nano, output_nano_per_mtok=nano) for nano in (1_000, 1_100, 1_200)]
    first, moved = (PriceAdvice(
        suggested=Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000),
        floor=floor, basis="the default", floor_basis="measured", is_estimate=False, offers=0,
    ) for floor in floors[:2])  # fmt: skip
    dearer = msgspec.structs.replace(moved, suggested=Prices(input_nano_per_mtok=1, output_nano_per_mtok=300_000_000))
    node = FakeNode(snapshot(active_jobs=(), recent_jobs=(), price=None))
    telling = asyncio.create_task(tell(node, frozenset()))
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        for advice in (first, moved, dearer):
            node.change("devices", price=advice)
            for _ in range(20):
                await asyncio.sleep(0)
        while "$0.30 out" not in said:
            await asyncio.sleep(0)
            said += capsys.readouterr().err
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert sum("suggested price" in line for line in said.splitlines()) == 2


def test_a_speed_that_nothing_could_measure_is_not_told_as_none():
    assert speed_said(" at ", 118.43) == " at 118.4 tok/s"
    assert speed_said(" at ", 0.0) == ""
