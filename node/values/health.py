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


class HealthItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the checklist behind the headline."""

    name: str
    health: Health
    detail: str
    fix: str = ""
