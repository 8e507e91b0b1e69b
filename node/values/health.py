"""The headline state of renting out, and the checklist behind it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """The headline state of renting out."""

    OFF = "off"
    STARTING = "starting"
    IDLE = "idle"
    SERVING = "serving"
    DEGRADED = "degraded"
    PAUSED = "paused"
    """Others use the machine for now; renting out goes on by itself."""
    STOPPING = "stopping"


class Health(StrEnum):
    """One check's verdict."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class ClockView(msgspec.Struct, frozen=True, kw_only=True):
    """How this machine's clock compares with the relay's."""

    ahead_ms: int
    """How far it is ahead; negative where it is behind."""
    health: Health
    line: str
    """What that means, as one sentence."""
    fix: str = ""


class HealthItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the checklist behind the headline."""

    name: str
    health: Health
    detail: str
    fix: str = ""
