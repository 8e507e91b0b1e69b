"""What the hardware is doing: NVIDIA GPUs where there are any, the CPU otherwise. Sampling blocks: use a thread."""

from __future__ import annotations

import platform
from typing import Any

import psutil

from node.values import DeviceView
from node.wire.text import plain


class DeviceSampler:
    """Samples the devices; one thread at a time may call :meth:`sample`."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._tried = False
        self._cpu_name = ""

    def sample(self) -> tuple[DeviceView, ...]:
        """Every GPU, or the CPU where there is none; never raises."""
        return self._gpus() or (self._cpu(),)

    def close(self) -> None:
        """Let go of the GPU driver."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _driver(self) -> Any:
        if not self._tried:
            self._tried = True
            try:
                import pynvml

                pynvml.nvmlInit()
            except Exception:
                # No NVIDIA driver, or one that is too old: whatever it raises, there is no GPU to show.
                return None
            self._nvml = pynvml
        return self._nvml

    def _gpus(self) -> tuple[DeviceView, ...]:
        nvml = self._driver()
        if nvml is None:
            return ()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:
            return ()
        return tuple(_gpu(nvml, handle) for handle in handles)

    def _cpu(self) -> DeviceView:
        memory = psutil.virtual_memory()
        return DeviceView(
            name=self._cpu_name or self._name_cpu(),
            kind="cpu",
            utilization_percent=psutil.cpu_percent(interval=None),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            temperature_c=_cpu_temperature(),
            power_w=None,
        )

    def _name_cpu(self) -> str:
        name = platform.processor()
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - a pseudo file
                name = next((line.split(":", 1)[1] for line in lines if line.startswith("model name")), name)
        except OSError:
            pass  # not Linux: the platform's own name stays
        self._cpu_name = plain(name.strip(), 64) or "CPU"
        return self._cpu_name


def _gpu(nvml: Any, handle: Any) -> DeviceView:
    def ask(read: Any) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None

    name = ask(lambda: nvml.nvmlDeviceGetName(handle)) or "GPU"
    use = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    temperature = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return DeviceView(
        name=plain(name.decode(errors="replace") if isinstance(name, bytes) else str(name), 64),
        kind="gpu",
        utilization_percent=None if use is None else float(use.gpu),
        memory_used_bytes=None if memory is None else int(memory.used),
        memory_total_bytes=None if memory is None else int(memory.total),
        temperature_c=None if temperature is None else float(temperature),
        power_w=None if milliwatts is None else milliwatts / 1000,
    )


def _cpu_temperature() -> float | None:
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError):
        return None
    for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None
