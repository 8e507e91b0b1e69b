"""The machine: its devices, its electricity, and whether renting out is paused."""

from __future__ import annotations

from typing import Literal

import msgspec


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, or the CPU where there is none; ``None`` where the hardware does not tell."""

    name: str
    kind: Literal["gpu", "cpu"]
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_c: float | None
    power_w: float | None


class NetView(msgspec.Struct, frozen=True, kw_only=True):
    """What renting out earned over some jobs, and what was left of it after electricity."""

    name: str
    """An hour's or day's beginning in milliseconds UTC, a model, or a device."""
    jobs: int
    output_tokens: int
    """0 for a device: its jobs may have used others as well."""
    earned_nano: int
    energy_mj: int
    """Millijoules that would not have been taken without these jobs."""
    cost_nano: int
    net_nano: int
    """``earned_nano - cost_nano``; may be below zero."""
    is_estimate: bool
    """Whether any of the energy is an estimate."""
    unmeasured_jobs: int
    """Jobs whose energy is not known: it counts as none."""


class EnergyView(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine draws, and what is left of the earnings."""

    power_w: float | None
    """All devices together; ``None`` before the second look."""
    idle_w: float | None
    """What they take without jobs."""
    is_estimate: bool
    """Whether any of the power is."""
    basis: str
    """Where the figures come from, for a person."""
    nano_per_kwh: int
    """What a kilowatt-hour costs now."""
    price_is_assumed: bool
    """Whether nobody said what power costs."""
    joules_per_token: float | None
    """Of an output token of the model that is rented out; ``None`` while unknown."""
    today: NetView
    total: NetView
    hours: tuple[NetView, ...]
    """The last 24 hours that had jobs, oldest first."""
    days: tuple[NetView, ...]
    """The last 30 days (UTC) that had jobs, oldest first."""
    models: tuple[NetView, ...]
    devices: tuple[NetView, ...]
    warning: str = ""
    """When power costs more than was earned."""
    fix: str = ""


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Why renting out is paused."""

    kind: str
    """``hours``, ``quiet_hours``, ``program``, ``person``, ``temperature``, ``power``, ``gpu`` or ``cpu``."""
    reason: str
    fix: str
    since_ms: int
    until_ms: int | None
    """When it ends by the clock; ``None`` where that depends."""
