"""What jobs took and what was left of their earnings, by hour, day, model and device, across restarts."""

import pytest

from node.store import JobEnergy, JobRecord, Store, StoreError, database
from node.store.job_energy import HOUR_MS
from node.store.migrations import MIGRATIONS, v005

DAY = 20_000 * 24 * HOUR_MS
FIRST = "0x" + "aa" * 32


def record(number, *, finished_ms=DAY + 5, role="provider", model="m", amount_nano=100):
    return JobRecord(
        job_id=f"j{number}", role=role, model=model, peer=b"b" * 20, started_ms=DAY, finished_ms=finished_ms,
        input_tokens=10, output_tokens=20, amount_nano=amount_nano,
    )  # fmt: skip


def took(device="GPU", energy_mj=1000, cost_nano=30, earned_nano=100, is_estimate=False):
    return JobEnergy(
        device=device, energy_mj=energy_mj, cost_nano=cost_nano, earned_nano=earned_nano, is_estimate=is_estimate
    )


@pytest.fixture
async def store(tmp_path):
    async with await Store.open(tmp_path / "node.db") as opened:
        await opened.bind_deployment(FIRST)
        yield opened


async def test_the_net_is_what_was_earned_less_what_it_took(store):
    await store.save_job(record(1))
    await store.save_job(record(2, finished_ms=DAY + HOUR_MS, model="n"))
    await store.save_job(record(3, role="buyer"))
    await store.save_job_energy("j1", [took(earned_nano=60), took("CPU", 500, 90, 40, is_estimate=True)])

    (total,) = await store.net_totals("all")
    assert (total.jobs, total.output_tokens, total.earned_nano, total.energy_mj) == (2, 40, 200, 1500)
    assert (total.cost_nano, total.net_nano, total.is_estimate, total.unmeasured_jobs) == (120, 80, True, 1)
    first, second = await store.net_totals("hour")
    assert (first.name, first.net_nano, second.name, second.net_nano) == (str(DAY), -20, str(DAY + HOUR_MS), 100)
    assert [day.name for day in await store.net_totals("day")] == [str(DAY)]
    assert [(model.name, model.is_estimate) for model in await store.net_totals("model")] == [("m", True), ("n", False)]
    assert [(device.name, device.net_nano) for device in await store.net_by_device()] == [("CPU", -50), ("GPU", 30)]
    assert await store.net_totals("all", since_ms=DAY + HOUR_MS + 1) == []


async def test_saving_again_replaces_and_is_still_there_after_a_restart(tmp_path):
    for energy_mj in (5, 7):
        async with await Store.open(tmp_path / "node.db") as store:
            await store.bind_deployment(FIRST)
            await store.save_job(record(1))
            await store.save_job_energy("j1", [took(energy_mj=energy_mj)])
    async with await Store.open(tmp_path / "node.db") as store:
        assert await store.job_energies("m") == [(10, 20, 7, False)]


async def test_what_sqlite_can_not_hold_is_refused(store):
    with pytest.raises(StoreError):
        await store.save_job_energy("j1", [took(energy_mj=2**63)])
    with pytest.raises(StoreError):
        await store.save_job_energy("j1", [took(cost_nano=-1)])


async def test_a_database_of_before_gets_the_table_and_keeps_its_jobs(tmp_path, monkeypatch):
    before = tuple(migration for migration in MIGRATIONS if migration[0] < v005.VERSION)
    with monkeypatch.context() as old:
        old.setattr(database, "MIGRATIONS", before)
        old.setattr(database, "LATEST", before[-1][0])
        async with await Store.open(tmp_path / "node.db") as store:
            await store.bind_deployment(FIRST)
            await store.save_job(record(1))
    async with await Store.open(tmp_path / "node.db") as store:
        assert (await store.net_totals("all"))[0].unmeasured_jobs == 1
