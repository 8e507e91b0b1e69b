"""What a source of facts about hardware gives, and the one small protocol that every source speaks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from node.values.text import plain

NAME_CHARS: Final = 64
MAX_POWER_W: Final = 100_000.0
"""Above this a number is no device's power; a driver that says so is not believed."""
MAX_FILE_BYTES: Final = 4_096
Kind = Literal["gpu", "cpu"]


class GpuUser(msgspec.Struct, frozen=True):
    """A process that uses a GPU, and how much of it, where the driver reports."""

    pid: int
    utilization_percent: float | None = None


class DeviceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One device as one source saw it; ``None`` where the hardware does not report."""

    device_id: str
    """Stays the same for as long as the machine is up: ``nvml:GPU-…``, ``drm:card0``, ``cpu``."""
    name: str
    kind: Kind
    source: str
    """What measured it: ``nvml``, ``amdgpu``, ``rapl``, ``psutil``, ``ioreg``."""
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    """Measured, never guessed."""
    energy_j: float | None = None
    """Counts up from anywhere; only differences mean something, and a smaller value is a new beginning."""
    max_power_w: float | None = None
    """What the device is limited to, or said to take at most."""
    users: tuple[GpuUser, ...] = ()
    """Processes on this GPU."""


class DeviceSource(Protocol):
    """One place where facts about hardware come from. Reading blocks, so it happens on a thread."""

    @property
    def name(self) -> str:
        """What a person calls it: ``NVML``, ``amdgpu``, ``RAPL``."""
        ...

    def read(self) -> tuple[DeviceReading, ...]:
        """Every device this source knows, now; never raises, and is empty where there is nothing."""
        ...

    def close(self) -> None:
        """Let go of drivers."""
        ...


def named(text: object, otherwise: str) -> str:
    """A device's name, harmless and short."""
    raw = text.decode(errors="replace") if isinstance(text, bytes) else str(text or "")
    return plain(raw.strip(), NAME_CHARS) or otherwise


def sane(value: float | None, low: float, high: float) -> float | None:
    """A number that can be what it says it is; anything else is ``None``."""
    return value if value is not None and math.isfinite(value) and low <= value <= high else None


def read_text(path: Path) -> str:
    """A small pseudo file's text; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def read_number(path: Path, scale: float = 1.0) -> float | None:
    """A pseudo file's integer divided by ``scale``; ``None`` where there is none."""
    text = read_text(path)
    try:
        return int(text) / scale
    except (ValueError, OverflowError):  # absent, no number, or one that no driver writes
        return None
