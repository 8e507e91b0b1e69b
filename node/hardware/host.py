"""The processor and its memory (psutil, RAPL where it may be read), and a Mac's GPU (ioreg)."""

from __future__ import annotations

import platform
import plistlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from node.hardware.rapl import Rapl
from node.hardware.reading import MAX_POWER_W, DeviceReading, named, sane

_SENSORS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_IOREG: Final = ("ioreg", "-r", "-d", "1", "-w", "0", "-a", "-c", "IOAccelerator")
ASK_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 4 * 2**20
_LEAST_INTERVAL_S: Final = 0.1
Run = Callable[[tuple[str, ...]], bytes]


class CpuSource:
    """The processor, by psutil; its power by RAPL.

    Args:
        root: Where sysfs is.
        clock: Monotonic seconds.
    """

    def __init__(self, root: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic) -> None:
        self.rapl = Rapl(root)
        self._clock = clock
        self._name = ""
        self._before: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """See ``DeviceSource``."""
        return "processor"

    def read(self) -> tuple[DeviceReading, ...]:
        """See ``DeviceSource``."""
        memory = psutil.virtual_memory()
        energy_j = self.rapl.energy_j()
        return (
            DeviceReading(
                device_id="cpu",
                name=self._name or self._find_name(),
                kind="cpu",
                source="psutil" if energy_j is None else "rapl",
                utilization_percent=sane(psutil.cpu_percent(interval=None), 0, 100),
                memory_used_bytes=memory.total - memory.available,
                memory_total_bytes=memory.total,
                temperature_c=cpu_temperature_c(),
                power_w=self._power_w(energy_j),
                energy_j=energy_j,
            ),
        )

    def close(self) -> None:
        """See ``DeviceSource``."""

    def _power_w(self, energy_j: float | None) -> float | None:
        if energy_j is None:
            return None
        now_s = self._clock()
        before, self._before = self._before, (now_s, energy_j)
        if before is None or now_s - before[0] < _LEAST_INTERVAL_S:
            return None
        return sane((energy_j - before[1]) / (now_s - before[0]), 0, MAX_POWER_W)

    def _find_name(self) -> str:
        name = platform.processor()
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - a pseudo file
                name = next((line.split(":", 1)[1] for line in lines if line.startswith("model name")), name)
        except OSError:
            if sys.platform == "darwin":
                name = run(("sysctl", "-n", "machdep.cpu.brand_string")).decode(errors="replace") or name
        self._name = named(name, "CPU")
        return self._name


def cpu_temperature_c(read_sensors: Callable[[], Mapping[str, Sequence[Any]]] | None = None) -> float | None:
    """The hottest of the processor's own sensors, where there are any.

    Args:
        read_sensors: Every chip's sensors by its name; by default psutil's, which only some systems have.
    """
    try:
        sensors = read_sensors() if read_sensors is not None else psutil.sensors_temperatures()
    except (AttributeError, OSError):
        return None
    for name in _SENSORS:
        if sensors.get(name):
            return sane(max(float(sensor.current) for sensor in sensors[name]), -50, 200)
    return None


class AppleSource:
    """A Mac's GPU by its registry entry; it shares the machine's memory and reports no power without root.

    Args:
        run_command: Runs a command and gives what it wrote; empty when it can't.
        is_mac: Whether this machine is one.
    """

    name = "ioreg"

    def __init__(self, run_command: Run | None = None, *, is_mac: bool = sys.platform == "darwin") -> None:
        self._run = run_command or run
        self._is_mac = is_mac

    def read(self) -> tuple[DeviceReading, ...]:
        """See ``DeviceSource``."""
        if not self._is_mac:
            return ()
        try:
            entries: Any = plistlib.loads(self._run(_IOREG)[:_MAX_ANSWER_BYTES])
        except Exception:
            # plistlib raises whatever its parser does; no answer is no GPU.
            return ()
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return tuple(_apple_gpu(entry, index) for index, entry in enumerate(found[:8]))

    def close(self) -> None:
        """See ``DeviceSource``."""


def _apple_gpu(entry: dict[str, Any], index: int) -> DeviceReading:
    told = entry.get("PerformanceStatistics")
    told = told if isinstance(told, dict) else {}
    use, used = told.get("Device Utilization %"), told.get("In use system memory")
    return DeviceReading(
        device_id=f"ioreg:{index}",
        name=named(entry.get("model"), "Apple GPU"),
        kind="gpu",
        source="ioreg",
        utilization_percent=sane(float(use), 0, 100) if isinstance(use, int) else None,
        memory_used_bytes=used if isinstance(used, int) and used >= 0 else None,
        memory_total_bytes=psutil.virtual_memory().total,
    )


def run(command: tuple[str, ...], timeout_s: float = ASK_TIMEOUT_S) -> bytes:
    """What a command wrote; empty if it is not there or takes too long."""
    try:
        return subprocess.run(command, capture_output=True, timeout=timeout_s, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
