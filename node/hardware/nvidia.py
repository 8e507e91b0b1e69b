"""NVIDIA GPUs through NVML: names, memory, utilization, temperature, power, energy, and the processes that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from node.hardware.reading import MAX_POWER_W, DeviceReading, GpuUser, named, sane

MAX_USERS: Final = 256
MAX_GPUS: Final = 64


class NvidiaSource:
    """Every GPU that NVML knows.

    Args:
        nvml: The ``pynvml`` module; by default it is imported, and where there is no driver the source is empty.
    """

    name = "NVML"

    def __init__(self, nvml: Any = None) -> None:
        self._nvml: Any = nvml
        self._tried = nvml is not None
        self._seen_us: dict[str, int] = {}

    def read(self) -> tuple[DeviceReading, ...]:
        """See ``DeviceSource``."""
        nvml = self._driver()
        if nvml is None:
            return ()
        count = _ask(nvml, nvml.nvmlDeviceGetCount) or 0
        readings = []
        for index in range(min(int(count), MAX_GPUS)):
            handle = _ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                readings.append(self._gpu(nvml, handle, index))
        return tuple(readings)

    def close(self) -> None:
        """See ``DeviceSource``."""
        if self._nvml is not None:
            _ask(self._nvml, self._nvml.nvmlShutdown)
            self._nvml = None

    def _driver(self) -> Any:
        if not self._tried:
            self._tried = True
            try:
                import pynvml

                pynvml.nvmlInit()
            except Exception:
                # No driver, or one that does not fit: whatever it raises, there is no GPU to read.
                return None
            self._nvml = pynvml
        return self._nvml

    def _gpu(self, nvml: Any, handle: Any, index: int) -> DeviceReading:
        use = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
        temperature = _number(_ask(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU))
        power_mw = _number(_ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle))
        limit_mw = _number(_ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle))
        # Since Volta: millijoules since the driver was loaded.
        energy_mj = _number(_ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle))
        uuid = _ask(nvml, nvml.nvmlDeviceGetUUID, handle)
        device_id = f"nvml:{named(uuid, str(index))}"
        return DeviceReading(
            device_id=device_id,
            name=named(_ask(nvml, nvml.nvmlDeviceGetName, handle), "NVIDIA GPU"),
            kind="gpu",
            source="nvml",
            utilization_percent=sane(None if use is None else _number(use.gpu), 0, 100),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            temperature_c=sane(temperature, -50, 200),
            power_w=sane(None if power_mw is None else power_mw / 1000, 0, MAX_POWER_W),
            energy_j=sane(None if energy_mj is None else energy_mj / 1000, 0, 1e15),
            max_power_w=sane(None if limit_mw is None else limit_mw / 1000, 1, MAX_POWER_W),
            users=self._users(nvml, handle, device_id),
        )

    def _users(self, nvml: Any, handle: Any, device_id: str) -> tuple[GpuUser, ...]:
        """Processes with a context on the GPU, and what each used of it since the last time it was asked."""
        use: dict[int, float | None] = {}
        for listing in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in (_ask(nvml, listing, handle) or [])[:MAX_USERS]:
                use[int(process.pid)] = None
        samples = _ask(nvml, nvml.nvmlDeviceGetProcessUtilization, handle, self._seen_us.get(device_id, 0)) or []
        for sample in samples[:MAX_USERS]:
            self._seen_us[device_id] = max(self._seen_us.get(device_id, 0), int(sample.timeStamp))
            percent = sane(_number(sample.smUtil), 0, 100)
            if percent is not None:
                use[int(sample.pid)] = max(percent, use.get(int(sample.pid)) or 0.0)
        return tuple(GpuUser(pid, percent) for pid, percent in sorted(use.items()) if pid > 0)


def _ask(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The driver's answer, or ``None`` where this GPU, driver or version has none."""
    try:
        return question(*arguments)
    except (nvml.NVMLError, AttributeError, UnicodeDecodeError):
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
