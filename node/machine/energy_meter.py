"""Reads the hardware every two seconds, gives each job its share of the energy, and computes net earnings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import tzinfo
from typing import Final

import psutil

from chain.errors import IdlewattError
from chain.logs import get_logger
from chain.money import format_usd
from node.hardware.energy import OwnCpuUse, PowerEstimate, TokenEnergy, expected_token_energy, share, token_energy
from node.hardware.energy_ledger import DeviceShare, EnergyLedger
from node.hardware.processes import ProcessProbe, ProcessUse
from node.hardware.rules import EnergyRules
from node.hardware.sampler import HardwareSample, HardwareSampler
from node.hardware.tariff import tariff
from node.machine.timing import MACHINE_TIMING, MachineTiming
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry, now_ms
from node.store.history import DAY_MS
from node.store.job_energy import HOUR_MS
from node.store.records import JobEnergy, NetTotal
from node.store.store import Store
from node.values import DeviceView, EnergyView, JobStage, JobView, NetView

log = get_logger(__name__)

HOURS_SHOWN: Final = 24
DAYS_SHOWN: Final = 30
TOTALS_S: Final = 60.0
NOBODY: Final = ProcessUse(own=OwnCpuUse(), own_pids=frozenset(), foreign_cpu_percent=None)
_NOTHING: Final = NetTotal(
    name="", jobs=0, output_tokens=0, earned_nano=0, energy_mj=0, cost_nano=0, is_estimate=False, unmeasured_jobs=0
)
_WORKING: Final = frozenset({JobStage.PREFILL, JobStage.STREAMING, JobStage.UNPAID})


class EnergyMeter:
    """Measures the energy of jobs.

    Args:
        rules: What power costs.
        store: Keeps the energy of jobs.
        jobs: The jobs whose steps are followed.
        events: Told that devices changed.
        programs: Names of programs to look for among the running ones.
        sampler: Makes the reader of the hardware; by default of all of this machine.
        zone: The time zone of the tariff; by default this machine's.
        timing: How often devices and processes are read.

    Raises:
        HoursError: If the tariff can't be used.
    """

    def __init__(
        self,
        rules: EnergyRules,
        store: Store,
        jobs: JobRegistry,
        events: EventBus,
        *,
        programs: frozenset[str] = frozenset(),
        sampler: Callable[[], HardwareSampler] = HardwareSampler,
        zone: tzinfo | None = None,
        timing: MachineTiming = MACHINE_TIMING,
    ) -> None:
        self._timing = timing
        self.tariff = tariff(rules.price_per_kwh, rules.tariff)
        self._store = store
        self._events = events
        self._programs = programs
        self._make_sampler = sampler
        self._zone = zone
        self._ledger = EnergyLedger(cpu_w=rules.cpu_w, gpu_w=rules.gpu_w)
        self._probe = ProcessProbe()
        self._finished: dict[str, JobView] = {}
        self._totals: dict[str, list[NetTotal]] = {}
        self._tokens: dict[str, TokenEnergy | None] = {}
        self._looked = asyncio.Event()
        self._looking = asyncio.Lock()
        self.sample: HardwareSample | None = None
        self.processes = NOBODY
        self.devices: tuple[DeviceView, ...] = ()
        self.model = ""
        """The model that is rented out."""
        self._view: EnergyView | None = None
        jobs.add_listener(self._follow)

    async def run(self) -> None:
        """Read until cancelled. One last reading at the end covers jobs that just ended."""
        sampler = self._make_sampler()
        totals_due_s = 0.0
        try:
            while True:
                await self.look(sampler)
                if time.monotonic() >= totals_due_s:
                    totals_due_s = time.monotonic() + TOTALS_S
                    await self.load_totals()
                await asyncio.sleep(self._timing.devices_s)
        finally:
            try:
                if self._finished:
                    async with asyncio.timeout(self._timing.last_reading_s):
                        await self.look(sampler)
            except TimeoutError:
                log.warning("last_energy_reading_timed_out")
            sampler.close()

    async def look(self, sampler: HardwareSampler) -> None:
        """Read devices and processes once, and save the energy of jobs that ended."""
        async with self._looking:
            sample, processes = await asyncio.to_thread(self._read, sampler)
            self.sample, self.processes = sample, processes
            price = self.tariff.nano_per_kwh(time.time(), self._zone)
            bills = self._ledger.look(sample, processes.own, price)
            devices = sample.views()
            if devices != self.devices:
                self.devices = devices
                self._events.changed("devices")
            await self._bill(bills)
            self._view = self._made_view()
            self._looked.set()

    def _read(self, sampler: HardwareSampler) -> tuple[HardwareSample, ProcessUse]:
        return sampler.sample(), self._probe.look(self._programs)

    def _follow(self, job: JobView) -> None:
        if job.role != "provider":
            return
        now_s = time.monotonic()
        if job.finished_ms is not None:
            if job.job_id in self._ledger.running:
                self._ledger.end(job.job_id, now_s)
                self._finished[job.job_id] = job
        elif job.stage in _WORKING:
            self.model = job.model
            self._ledger.begin(job.job_id, now_s)

    async def _bill(self, bills: dict[str, tuple[DeviceShare, ...]]) -> None:
        billed = False
        for job_id, shares in bills.items():
            job = self._finished.pop(job_id, None)
            if job is None or not shares:
                continue
            earned = share(job.amount_nano, [float(one.energy_mj) for one in shares])
            rows = [
                JobEnergy(
                    device=one.device,
                    energy_mj=one.energy_mj,
                    cost_nano=one.cost_nano,
                    earned_nano=part,
                    is_estimate=one.is_estimate,
                )
                for one, part in zip(shares, earned, strict=True)
            ]
            try:
                await self._store.save_job_energy(job_id, rows)
                billed = True
            except IdlewattError as error:
                log.error("job_energy_not_saved", job=job_id, error=error.line())
        if billed:
            await self.load_totals()

    async def load_totals(self) -> None:
        """Read the totals from the store."""
        now = now_ms()
        try:
            self._totals = {
                "today": await self._store.net_totals("all", since_ms=now // DAY_MS * DAY_MS),
                "total": await self._store.net_totals("all"),
                "hours": await self._store.net_totals("hour", since_ms=(now // HOUR_MS - HOURS_SHOWN + 1) * HOUR_MS),
                "days": await self._store.net_totals("day", since_ms=(now // DAY_MS - DAYS_SHOWN + 1) * DAY_MS),
                "models": await self._store.net_totals("model"),
                "devices": await self._store.net_by_device(),
            }
            if self.model:
                self._tokens = {self.model: await self._token_energy(self.model)}
        except IdlewattError as error:
            log.warning("power_totals_not_read", error=error.line())
        self._view = self._made_view()
        self._events.changed("devices")

    async def know(self, model: str) -> None:
        """Read the energy of a model's tokens from the store."""
        self.model = model
        try:
            self._tokens = {model: await self._token_energy(model)}
        except IdlewattError as error:
            log.warning("token_energy_not_read", error=error.line())

    async def _token_energy(self, model: str) -> TokenEnergy | None:
        jobs = await self._store.job_energies(model)
        rows = [(given, made, energy) for given, made, energy, _ in jobs]
        return token_energy(rows, is_estimate=any(guessed for *_, guessed in jobs))

    async def looked(self) -> None:
        """Wait for the first reading of the hardware."""
        await self._looked.wait()

    def token_energy(self, model: str, tokens_per_s: float, *, on_gpu: bool) -> TokenEnergy | None:
        """The energy of a model's token: from its jobs, else estimated from full power; ``None`` without either."""
        known = self._tokens.get(model)
        return known or expected_token_energy(self._powers(on_gpu=on_gpu), tokens_per_s)

    def _powers(self, *, on_gpu: bool) -> dict[str, PowerEstimate]:
        cores = psutil.cpu_count() or 1
        devices = self.sample.devices if self.sample else ()
        kind = "gpu" if on_gpu else "cpu"
        return {one.device_id: self._ledger.power(one, cores) for one in devices if one.kind == kind}

    def view(self) -> EnergyView | None:
        """The view for screens and ``status``; ``None`` before the first reading."""
        return self._view

    def _made_view(self) -> EnergyView | None:
        sample, last = self.sample, self._ledger.last
        if sample is None:
            return None
        cores = psutil.cpu_count() or 1
        tokens = self._tokens.get(self.model)
        today, total = _net(self._totals.get("today"), "today"), _net(self._totals.get("total"), "total")
        price = self.tariff.nano_per_kwh(time.time(), self._zone)
        warning, fix = judge_net(today, price_is_assumed=self.tariff.is_assumed)
        return EnergyView(
            power_w=sum(one.power_w for one in last) if last else None,
            idle_w=sum(self._ledger.baseline_w(one, cores) for one in sample.devices) if last else None,
            is_estimate=any(one.is_estimate for one in last),
            basis=basis(sample, {one.device_id for one in last if one.is_estimate}),
            nano_per_kwh=price,
            price_is_assumed=self.tariff.is_assumed,
            joules_per_token=tokens.output_j if tokens else None,
            today=today,
            total=total,
            hours=_views(self._totals.get("hours")),
            days=_views(self._totals.get("days")),
            models=_views(self._totals.get("models")),
            devices=_views(self._totals.get("devices")),
            warning=warning,
            fix=fix,
        )


def basis(sample: HardwareSample, estimated: set[str]) -> str:
    """Where the power figures come from, for a person: ``NVML measures GPU; CPU is estimated``."""
    sources = {"nvml": "NVML", "amdgpu": "amdgpu", "rapl": "RAPL"}
    words = [
        f"{one.name} is estimated"
        if one.device_id in estimated
        else f"{sources.get(one.source, one.source)} measures {one.name}"
        for one in sample.devices
    ]
    return "; ".join(words)[:300]


def judge_net(today: NetView, *, price_is_assumed: bool) -> tuple[str, str]:
    """The warning and its fix when power cost more than was earned today; two empty strings otherwise."""
    if today.net_nano >= 0:
        return "", ""
    about = " (estimated)" if today.is_estimate else ""
    warning = (
        f"Today's power{about} cost {format_usd(today.cost_nano)}, and only {format_usd(today.earned_nano)} was earned."
    )
    if price_is_assumed:
        return warning, "Set price_per_kwh in [energy] to what you pay; then raise the price, see the suggestion."
    return warning, "Raise the price to the suggestion, rent out a smaller model, or set hours in [availability]."


def _net(found: list[NetTotal] | None, name: str) -> NetView:
    return _view(found[0] if found else _NOTHING, name)


def _views(found: list[NetTotal] | None) -> tuple[NetView, ...]:
    return tuple(_view(one, one.name) for one in found or ())


def _view(one: NetTotal, name: str) -> NetView:
    return NetView(
        name=name,
        jobs=one.jobs,
        output_tokens=one.output_tokens,
        earned_nano=one.earned_nano,
        energy_mj=one.energy_mj,
        cost_nano=one.cost_nano,
        net_nano=one.net_nano,
        is_estimate=one.is_estimate,
        unmeasured_jobs=one.unmeasured_jobs,
    )
