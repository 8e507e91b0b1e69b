"""The processor's own energy counter (Intel RAPL, on AMD since Zen too) in ``/sys/class/powercap``.

``intel-rapl:0`` is a package, ``intel-rapl:0:1`` a part of it (cores, graphics: inside the package's count) or
``dram``, which is not; ``psys`` is the whole platform and would count the package twice. ``energy_uj`` counts
micro-joules and starts again at ``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst). Since 2020 kernels
let only root read it, because it reveals other processes' secrets (CVE-2020-8694).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from node.hardware.reading import read_number, read_text

_ZONE: Final = re.compile(r"intel-rapl:\d{1,3}(:\d{1,3})?")
MAX_ZONES: Final = 64
ROOT_ONLY_FIX: Final = "Until the next boot: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


class Rapl:
    """Adds up the packages' and the memory's counters, whose wrapping it hides.

    Args:
        root: Where sysfs is.
    """

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._powercap = root / "class" / "powercap"
        self._last_uj: dict[str, int] = {}
        self._total_uj = 0

    def energy_j(self) -> float | None:
        """Joules since the first call; ``None`` where no counter can be read."""
        zones = self._zones()
        found = False
        for zone in zones:
            count = read_number(zone / "energy_uj")
            if count is None:
                continue
            found = True
            before = self._last_uj.get(zone.name)
            if before is not None:
                self._total_uj += risen(before, int(count), int(read_number(zone / "max_energy_range_uj") or 0))
            self._last_uj[zone.name] = int(count)
        return self._total_uj / 1e6 if found else None

    @property
    def is_locked(self) -> bool:
        """Whether there are counters and none may be read."""
        zones = self._zones()
        return bool(zones) and all(read_number(zone / "energy_uj") is None for zone in zones)

    def _zones(self) -> list[Path]:
        try:
            found = sorted(path for path in self._powercap.iterdir() if _ZONE.fullmatch(path.name))
        except OSError:
            return []
        return [path for path in found if _counts(read_text(path / "name"))][:MAX_ZONES]


def risen(before_uj: int, after_uj: int, range_uj: int) -> int:
    """How far a counter rose that starts again at ``range_uj``; once at most between two looks.

    Args:
        before_uj: The counter at the earlier look, in microjoules.
        after_uj: The counter now.
        range_uj: Where it starts again.
    """
    if after_uj >= before_uj:
        return after_uj - before_uj
    return max(0, after_uj + range_uj - before_uj)


def _counts(name: str) -> bool:
    return name.startswith("package") or name == "dram"
