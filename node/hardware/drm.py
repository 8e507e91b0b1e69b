"""GPUs of the kernel's own drivers (amdgpu) by sysfs: ``/sys/class/drm/card*/device`` and the ``hwmon`` below it.

Units as the kernel documents them (Documentation/gpu/amdgpu/thermal.rst, Documentation/hwmon/sysfs-interface.rst):
micro-watts, micro-joules, milli-degrees, bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from node.hardware.reading import MAX_POWER_W, DeviceReading, named, read_number, read_text, sane

_CARD: Final = re.compile(r"card\d{1,3}")
_AMD: Final = "0x1002"
MAX_CARDS: Final = 64


class DrmSource:
    """Every AMD GPU that the kernel shows.

    Args:
        root: Where sysfs is.
    """

    name = "amdgpu"

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._drm = root / "class" / "drm"

    def read(self) -> tuple[DeviceReading, ...]:
        """See ``DeviceSource``."""
        try:
            cards = sorted(path for path in self._drm.iterdir() if _CARD.fullmatch(path.name))[:MAX_CARDS]
        except OSError:
            return ()
        devices = [card / "device" for card in cards]
        return tuple(_gpu(device) for device in devices if read_text(device / "vendor").lower() == _AMD)

    def close(self) -> None:
        """See ``DeviceSource``."""


def _gpu(device: Path) -> DeviceReading:
    sensors = _hwmon(device)
    power_w = read_number(sensors / "power1_average", 1e6)
    if power_w is None:  # newer GPUs tell the momentary power only
        power_w = read_number(sensors / "power1_input", 1e6)
    used, total = (read_number(device / f"mem_info_vram_{what}") for what in ("used", "total"))
    model = read_text(device / "device").removeprefix("0x")
    return DeviceReading(
        device_id=f"drm:{device.parent.name}",
        name=named(read_text(device / "product_name"), named(f"AMD GPU {model}".strip(), "AMD GPU")),
        kind="gpu",
        source="amdgpu",
        utilization_percent=sane(read_number(device / "gpu_busy_percent"), 0, 100),
        memory_used_bytes=None if used is None or used < 0 else int(used),
        memory_total_bytes=None if total is None or total < 0 else int(total),
        temperature_c=sane(read_number(sensors / "temp1_input", 1e3), -50, 200),
        power_w=sane(power_w, 0, MAX_POWER_W),
        energy_j=sane(read_number(sensors / "energy1_input", 1e6), 0, 1e15),
        max_power_w=sane(read_number(sensors / "power1_cap", 1e6), 1, MAX_POWER_W),
    )


def _hwmon(device: Path) -> Path:
    try:
        return min((device / "hwmon").iterdir())
    except (OSError, ValueError):  # a card without sensors
        return device / "hwmon" / "none"
