"""All sources together: every GPU and the processor, sampled on a thread, never raising."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from chain.logs import get_logger
from node.hardware.drm import DrmSource
from node.hardware.host import AppleSource, CpuSource
from node.hardware.nvidia import NvidiaSource
from node.hardware.reading import DeviceReading, DeviceSource
from node.values import DeviceView

log = get_logger(__name__)


class HardwareSample(msgspec.Struct, frozen=True, kw_only=True):
    """Every device at one moment; GPUs first."""

    at_s: float
    """Monotonic seconds: for differences."""
    devices: tuple[DeviceReading, ...]

    def views(self) -> tuple[DeviceView, ...]:
        """As screens show them."""
        return tuple(device_view(reading) for reading in self.devices)


class HardwareSampler:
    """Reads all sources; one thread at a time may call :meth:`sample`.

    Args:
        sources: What to read; by default everything this machine could have.
        clock: Monotonic seconds.
    """

    def __init__(
        self, sources: Sequence[DeviceSource] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = list(default_sources() if sources is None else sources)
        self._clock = clock
        self._broken: set[str] = set()

    def sample(self) -> HardwareSample:
        """Every GPU, then the processor; never raises."""
        readings: list[DeviceReading] = []
        for source in self._sources:
            try:
                readings += source.read()
            except Exception:
                # A driver that breaks takes its own figures away and nothing else; it is told of once.
                if source.name not in self._broken:
                    self._broken.add(source.name)
                    log.exception("hardware_source_failed", source=source.name)
        return HardwareSample(
            at_s=self._clock(), devices=tuple(sorted(readings, key=lambda reading: reading.kind == "cpu"))
        )

    def close(self) -> None:
        """Let go of drivers."""
        for source in self._sources:
            source.close()


def default_sources(root: Path = Path("/sys")) -> tuple[DeviceSource, ...]:
    """Everything a machine could have; what is not there gives nothing."""
    return NvidiaSource(), DrmSource(root), AppleSource(), CpuSource(root)


def device_view(reading: DeviceReading) -> DeviceView:
    """A reading as screens show it."""
    return DeviceView(
        name=reading.name,
        kind=reading.kind,
        utilization_percent=reading.utilization_percent,
        memory_used_bytes=reading.memory_used_bytes,
        memory_total_bytes=reading.memory_total_bytes,
        temperature_c=reading.temperature_c,
        power_w=reading.power_w,
    )
