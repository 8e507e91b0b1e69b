"""Energy of the provider's jobs by job and device, and the earnings less its cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import aiosqlite

from node.store.base import StorePart, check_range
from node.store.database import Row
from node.store.history import DAY_MS
from node.store.records import JobEnergy, NetTotal

HOUR_MS = 60 * 60 * 1000
Grouping = Literal["hour", "day", "model", "all"]

_KEYS: dict[Grouping, str] = {
    "hour": f"CAST(finished_ms / {HOUR_MS} * {HOUR_MS} AS TEXT)",
    "day": f"CAST(finished_ms / {DAY_MS} * {DAY_MS} AS TEXT)",
    "model": "model",
    "all": "'all'",
}


class JobEnergies(StorePart):
    """The energy of the provider's jobs. The energy of a job without a row is not known."""

    async def save_job_energy(self, job_id: str, shares: Sequence[JobEnergy]) -> None:
        """Keep a job's energy, one row for each device; saving it again replaces it."""
        for one in shares:
            check_range(energy_mj=one.energy_mj, cost_nano=one.cost_nano, earned_nano=one.earned_nano)
        rows = [(job_id, s.device, s.energy_mj, s.cost_nano, s.earned_nano, int(s.is_estimate)) for s in shares]

        async def write(connection: aiosqlite.Connection) -> None:
            await connection.execute("DELETE FROM job_energy WHERE job_id = ?", (job_id,))
            await connection.executemany("INSERT INTO job_energy VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._database.write(write)

    async def net_totals(self, by: Grouping, *, since_ms: int = 0) -> list[NetTotal]:
        """Earnings, energy and energy cost of the provider's finished jobs, in groups.

        Args:
            by: What makes a group: an hour (UTC), a day (UTC), a model, or all jobs together.
            since_ms: Only jobs that finished from this time on, milliseconds UTC.
        """
        rows = await self._database.rows(
            "WITH each AS (SELECT j.finished_ms, j.model, j.output_tokens, j.amount_nano, sum(e.energy_mj) AS energy, "
            "sum(e.cost_nano) AS cost, max(e.is_estimate) AS guessed FROM jobs j "
            "LEFT JOIN job_energy e ON e.job_id = j.job_id "
            "WHERE j.role = 'provider' AND j.deployment = ? AND j.finished_ms >= ? GROUP BY j.job_id) "
            f"SELECT {_KEYS[by]} AS name, count(*), sum(output_tokens), sum(amount_nano), coalesce(sum(energy), 0), "
            "coalesce(sum(cost), 0), coalesce(max(guessed), 0), sum(energy IS NULL) FROM each "
            "GROUP BY name ORDER BY name",
            (self._deployment or "", since_ms),
        )
        return [_total(row) for row in rows]

    async def net_by_device(self, *, since_ms: int = 0) -> list[NetTotal]:
        """The same by device. A job on two devices counts for both, each with its part of the earnings."""
        rows = await self._database.rows(
            "SELECT e.device, count(*), 0, sum(e.earned_nano), sum(e.energy_mj), sum(e.cost_nano), "
            "max(e.is_estimate), 0 FROM jobs j JOIN job_energy e ON e.job_id = j.job_id "
            "WHERE j.role = 'provider' AND j.deployment = ? AND j.finished_ms >= ? GROUP BY e.device ORDER BY e.device",
            (self._deployment or "", since_ms),
        )
        return [_total(row) for row in rows]

    async def job_energies(self, model: str, limit: int = 200) -> list[tuple[int, int, int, bool]]:
        """A model's newest jobs: input tokens, output tokens, millijoules, and whether that is partly an estimate."""
        rows = await self._database.rows(
            "SELECT j.input_tokens, j.output_tokens, sum(e.energy_mj), max(e.is_estimate) FROM jobs j "
            "JOIN job_energy e ON e.job_id = j.job_id WHERE j.role = 'provider' AND j.model = ? "
            "GROUP BY j.job_id ORDER BY j.started_ms DESC LIMIT ?",
            (model, limit),
        )
        return [(given, made, energy, bool(guessed)) for given, made, energy, guessed in rows]


def _total(row: Row) -> NetTotal:
    name, jobs, tokens, earned, energy, cost, guessed, unknown = row
    return NetTotal(
        name=str(name),
        jobs=int(jobs),
        output_tokens=int(tokens),
        earned_nano=int(earned),
        energy_mj=int(energy),
        cost_nano=int(cost),
        is_estimate=bool(guessed),
        unmeasured_jobs=int(unknown),
    )
