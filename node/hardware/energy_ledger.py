"""Divides measured joules among the jobs that ran meanwhile, and prices them. Pure, no clock."""

from __future__ import annotations

from typing import Final

import msgspec

from node.hardware.energy import (
    DeviceEnergy,
    OwnCpuUse,
    PowerEstimate,
    guess,
    millijoules,
    next_baseline_w,
    share,
    spent,
)
from node.hardware.reading import DeviceReading
from node.hardware.sampler import HardwareSample
from node.hardware.tariff import cost_nano

MAX_JOBS: Final = 1_024


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one job took from one device."""

    device: str
    energy_mj: int
    cost_nano: int
    is_estimate: bool


class _Account:
    """What one job took so far, by device: millijoules, millijoules times price, whether any is an estimate."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.ended_s: float | None = None
        self.devices: dict[str, tuple[int, int, bool]] = {}

    def add(self, device: str, energy_mj: int, nano_per_kwh: int, is_estimate: bool) -> None:
        energy, priced, guessed = self.devices.get(device, (0, 0, False))
        self.devices[device] = energy + energy_mj, priced + energy_mj * nano_per_kwh, guessed or is_estimate

    def shares(self) -> tuple[DeviceShare, ...]:
        return tuple(
            DeviceShare(device=device, energy_mj=energy, cost_nano=cost_nano(priced), is_estimate=guessed)
            for device, (energy, priced, guessed) in sorted(self.devices.items())
        )


class EnergyLedger:
    """Shares each look's marginal energy among the jobs that ran since the one before, by how long each did.

    Under continuous batching every running request gets one token a step, so time is what they share.

    Args:
        cpu_w: What a person says the processor takes at most, where nothing measures it.
        gpu_w: The same of a GPU.
    """

    def __init__(self, *, cpu_w: float | None = None, gpu_w: float | None = None) -> None:
        self._cpu_w, self._gpu_w = cpu_w, gpu_w
        self._before: HardwareSample | None = None
        self._baseline_w: dict[str, float] = {}
        self._jobs: dict[str, _Account] = {}
        self.last: tuple[DeviceEnergy, ...] = ()
        """What each device took between the last two looks."""

    def begin(self, job_id: str, at_s: float) -> None:
        """A job runs from here on (monotonic seconds); harmless when it does already."""
        if job_id not in self._jobs and len(self._jobs) < MAX_JOBS:
            self._jobs[job_id] = _Account(at_s)

    def end(self, job_id: str, at_s: float) -> None:
        """A job no longer runs; it is settled at the next look."""
        account = self._jobs.get(job_id)
        if account is not None and account.ended_s is None:
            account.ended_s = at_s

    @property
    def running(self) -> frozenset[str]:
        """Jobs that began and did not end."""
        return frozenset(job_id for job_id, account in self._jobs.items() if account.ended_s is None)

    def look(self, sample: HardwareSample, own: OwnCpuUse, nano_per_kwh: int) -> dict[str, tuple[DeviceShare, ...]]:
        """One more look at the devices; gives what each job that ended since the last one took in all.

        Args:
            sample: Every device, now.
            own: The engine's part of the processor since the last look.
            nano_per_kwh: The price of power now.
        """
        before, self._before = self._before, sample
        if before is not None:
            self.last = self._spent(before, sample, own)
            weights = {job_id: _overlap(account, before.at_s, sample.at_s) for job_id, account in self._jobs.items()}
            active = [job_id for job_id, seconds in weights.items() if seconds > 0]
            for device in self.last:
                if active:
                    parts = share(millijoules(device.marginal_j), [weights[job_id] for job_id in active])
                    for job_id, energy_mj in zip(active, parts, strict=True):
                        self._jobs[job_id].add(device.name, energy_mj, nano_per_kwh, device.is_estimate)
                elif not device.is_estimate:
                    known = self._baseline_w.get(device.device_id)
                    self._baseline_w[device.device_id] = next_baseline_w(known, device.power_w)
        done = {
            job_id: account.shares()
            for job_id, account in self._jobs.items()
            if account.ended_s is not None and account.ended_s <= sample.at_s
        }
        for job_id in done:
            del self._jobs[job_id]
        return done

    def baseline_w(self, reading: DeviceReading, cores: int) -> float:
        """What a device takes without jobs: learned, else guessed."""
        return self._baseline_w.get(reading.device_id, self.power(reading, cores).idle_w)

    def power(self, reading: DeviceReading, cores: int) -> PowerEstimate:
        """What a device is taken to draw where nothing measures it."""
        return guess(reading, cores, cpu_w=self._cpu_w, gpu_w=self._gpu_w)

    def _spent(self, before: HardwareSample, after: HardwareSample, own: OwnCpuUse) -> tuple[DeviceEnergy, ...]:
        earlier = {reading.device_id: reading for reading in before.devices}
        found = (
            spent(
                earlier[reading.device_id],
                reading,
                after.at_s - before.at_s,
                own=own,
                baseline_w=self._baseline_w.get(reading.device_id),
                power=self.power(reading, own.cores),
            )
            for reading in after.devices
            if reading.device_id in earlier
        )
        return tuple(one for one in found if one is not None)


def _overlap(account: _Account, start_s: float, end_s: float) -> float:
    last_s = end_s if account.ended_s is None else min(end_s, account.ended_s)
    return max(0.0, last_s - max(start_s, account.began_s))
