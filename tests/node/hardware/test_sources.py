"""Each source reads what a real machine shows: sysfs trees on disk, a driver's answers, and nothing at all."""

from __future__ import annotations

import plistlib
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.hardware import host
from node.hardware.drm import DrmSource
from node.hardware.host import AppleSource, CpuSource, cpu_temperature_c
from node.hardware.nvidia import NvidiaSource
from node.hardware.rapl import Rapl, risen
from node.hardware.reading import DeviceReading, GpuUser
from node.hardware.sampler import HardwareSampler, default_sources


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(f"{content}\n")
    return root


AMD = {
    "class/drm/card1/device/vendor": "0x1002",
    "class/drm/card1/device/device": "0x744c",
    "class/drm/card1/device/gpu_busy_percent": 93,
    "class/drm/card1/device/mem_info_vram_used": 9_000_000_000,
    "class/drm/card1/device/mem_info_vram_total": 25_753_026_560,
    "class/drm/card1/device/hwmon/hwmon4/power1_average": 281_000_000,
    "class/drm/card1/device/hwmon/hwmon4/power1_cap": 327_000_000,
    "class/drm/card1/device/hwmon/hwmon4/temp1_input": 66_000,
    "class/drm/card1-HDMI-A-1/status": "connected",
    "class/drm/card0/device/vendor": "0x8086",
}


def test_an_amd_gpu_is_read_from_sysfs_and_other_cards_are_left_alone(tmp_path):
    (gpu,) = DrmSource(tree(tmp_path, AMD)).read()

    assert gpu == DeviceReading(
        device_id="drm:card1",
        name="AMD GPU 744c",
        kind="gpu",
        source="amdgpu",
        utilization_percent=93.0,
        memory_used_bytes=9_000_000_000,
        memory_total_bytes=25_753_026_560,
        temperature_c=66.0,
        power_w=281.0,
        max_power_w=327.0,
    )


def test_an_amd_gpu_that_tells_momentary_power_and_its_own_name(tmp_path):
    base = "class/drm/card0/device"
    root = tree(
        tmp_path,
        {
            f"{base}/vendor": "0x1002",
            f"{base}/product_name": "Radeon \x1b[31mPRO " + "x" * 200,
            f"{base}/hwmon/hwmon0/power1_input": 12_500_000,
        },
    )
    (gpu,) = DrmSource(root).read()

    assert gpu.power_w == 12.5
    assert gpu.name.startswith("Radeon PRO x")
    assert len(gpu.name) <= 64


@pytest.mark.parametrize("content", ["", "N/A", "-5", "9" * 5000, b"\xff\xfe\x00", "nan", "1e3"])
def test_a_driver_that_writes_nonsense_gives_no_figure(tmp_path, content):
    base = "class/drm/card0/device"
    names = ("gpu_busy_percent", "mem_info_vram_used", "hwmon/hwmon0/power1_average", "hwmon/hwmon0/temp1_input")
    root = tree(tmp_path, {f"{base}/vendor": "0x1002"} | {f"{base}/{name}": content for name in names})
    (gpu,) = DrmSource(root).read()

    assert (gpu.utilization_percent, gpu.memory_used_bytes, gpu.power_w) == (None, None, None)


def test_a_machine_without_sysfs_has_no_gpu_there(tmp_path):
    assert DrmSource(tmp_path / "nothing").read() == ()


def zone(root: Path, number: str, name: str, energy_uj: int, range_uj: int = 1_000_000) -> None:
    folder = f"class/powercap/intel-rapl:{number}"
    tree(root, {f"{folder}/name": name, f"{folder}/energy_uj": energy_uj, f"{folder}/max_energy_range_uj": range_uj})


def test_rapl_adds_up_packages_and_memory_and_nothing_twice(tmp_path):
    for number, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "dram"), ("1", "package-1"), ("2", "psys")):
        zone(tmp_path, number, name, 100)
    rapl = Rapl(tmp_path)
    assert rapl.energy_j() == 0.0

    for number, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "dram"), ("1", "package-1"), ("2", "psys")):
        zone(tmp_path, number, name, 500_100)
    assert rapl.energy_j() == 1.5


def test_rapl_goes_on_where_its_counter_starts_again(tmp_path):
    zone(tmp_path, "0", "package-0", 900_000)
    rapl = Rapl(tmp_path)
    rapl.energy_j()
    zone(tmp_path, "0", "package-0", 200_000)
    assert rapl.energy_j() == pytest.approx(0.3)


@given(st.integers(1, 10**12), st.lists(st.integers(0, 10**12), max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_wrapping_counter_adds_up_to_what_was_taken(range_uj, steps):
    count, total = 0, 0
    for step in steps:
        step %= range_uj  # noqa: PLW2901 - at most one wrap between two looks
        after = (count + step) % range_uj
        total += risen(count, after, range_uj)
        count = after
    assert total == sum(step % range_uj for step in steps)


def test_a_rapl_counter_for_root_only_is_told_from_none(tmp_path):
    assert not Rapl(tmp_path).is_locked
    tree(tmp_path, {"class/powercap/intel-rapl:0/name": "package-0"})
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").mkdir()  # can't be read, whoever asks
    rapl = Rapl(tmp_path)
    assert rapl.is_locked
    assert rapl.energy_j() is None


def test_the_processor_tells_its_power_from_the_second_look_on(tmp_path):
    zone(tmp_path, "0", "package-0", 0, 10**9)
    now = iter([10.0, 12.0])
    source = CpuSource(tmp_path, lambda: next(now))
    (first,) = source.read()
    zone(tmp_path, "0", "package-0", 90_000_000, 10**9)
    (second,) = source.read()

    assert (first.power_w, second.power_w, second.energy_j, second.source) == (None, 45.0, 90.0, "rapl")
    assert second.name
    assert second.memory_total_bytes > second.memory_used_bytes > 0


def test_the_processor_without_rapl_says_no_power(tmp_path):
    (cpu,) = CpuSource(tmp_path).read()
    assert (cpu.kind, cpu.power_w, cpu.energy_j, cpu.source) == ("cpu", None, None, "psutil")


def test_the_hottest_sensor_counts_and_none_where_none_tells():
    sensors = {"coretemp": [SimpleNamespace(current=50.5), SimpleNamespace(current=61.0)]}
    assert cpu_temperature_c(lambda: sensors) == 61.0

    def broken():
        raise OSError

    assert cpu_temperature_c(broken) is None
    assert cpu_temperature_c(dict) is None


class NVMLError(Exception):
    pass


def unknown(*_):
    raise NVMLError


def driver(**answers):
    """An NVML that answers as the real module does: numbers in milli-units, and an error for what it can't."""
    values = {
        "NVMLError": NVMLError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda _: b"GPU \x1b[31m9000",
        "nvmlDeviceGetUUID": lambda _: "GPU-1234",
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=42),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=1, total=2),
        "nvmlDeviceGetTemperature": lambda *_: 61,
        "nvmlDeviceGetPowerUsage": lambda _: 250_500,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 350_000,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: 7_000,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=11)],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda _: [SimpleNamespace(pid=12)],
        "nvmlDeviceGetProcessUtilization": lambda *_: [SimpleNamespace(pid=12, smUtil=30, timeStamp=5)],
        "nvmlShutdown": lambda: None,
    }
    return SimpleNamespace(**(values | answers))


def test_an_nvidia_gpu_tells_everything_its_driver_does():
    (gpu,) = NvidiaSource(driver()).read()

    assert (gpu.device_id, gpu.name, gpu.utilization_percent) == ("nvml:GPU-1234", "GPU 9000", 42.0)
    assert (gpu.power_w, gpu.energy_j, gpu.max_power_w, gpu.temperature_c) == (250.5, 7.0, 350.0, 61.0)
    assert gpu.users == (GpuUser(11, None), GpuUser(12, 30.0))


def test_an_old_gpu_that_knows_nothing_is_shown_by_name_alone():
    questions = [name for name in vars(driver()) if name.startswith("nvmlDeviceGet")]
    silent = {name: unknown for name in questions if name not in {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}}
    (gpu,) = NvidiaSource(driver(**silent)).read()

    assert (gpu.name, gpu.power_w, gpu.utilization_percent, gpu.users) == ("NVIDIA GPU", None, None, ())


def test_a_driver_that_goes_away_takes_its_gpus_along_and_is_let_go_of_once():
    ended = []
    nvml = driver(nvmlDeviceGetCount=unknown, nvmlShutdown=lambda: ended.append("shutdown"))
    source = NvidiaSource(nvml)
    assert source.read() == ()
    source.close()
    source.close()
    assert ended == ["shutdown"]
    assert source.read() == ()


def test_this_machine_is_read_whatever_it_has():
    sampler = HardwareSampler()
    first, second = sampler.sample(), sampler.sample()
    sampler.close()

    assert second.at_s >= first.at_s
    assert first.devices[-1].kind == "cpu"
    assert [view.name for view in first.views()] == [reading.name for reading in first.devices]


def test_a_source_that_breaks_takes_nothing_else_with_it(caplog, tmp_path):
    class Broken:
        name = "broken"

        def read(self):
            raise RuntimeError("no such thing")

        def close(self):
            pass

    sampler = HardwareSampler([Broken(), CpuSource(tmp_path)])
    assert [reading.kind for reading in sampler.sample().devices] == ["cpu"]
    sampler.sample()
    assert sum("hardware_source_failed source=broken" in record.message for record in caplog.records) == 1
    sampler.close()


def test_gpus_come_before_the_processor(tmp_path):
    sampler = HardwareSampler([CpuSource(tmp_path), DrmSource(tree(tmp_path, AMD))])
    assert [reading.kind for reading in sampler.sample().devices] == ["gpu", "cpu"]


def test_a_macs_gpu_is_read_from_its_registry():
    entry = {"model": "Apple M3", "PerformanceStatistics": {"Device Utilization %": 37, "In use system memory": 5}}
    (gpu,) = AppleSource(lambda _: plistlib.dumps([entry]), is_mac=True).read()
    assert (gpu.name, gpu.utilization_percent, gpu.memory_used_bytes, gpu.power_w) == ("Apple M3", 37.0, 5, None)
    assert gpu.memory_total_bytes == psutil.virtual_memory().total


@pytest.mark.parametrize("answer", [b"", b"<plist>", plistlib.dumps({"a": 1}), plistlib.dumps([1, "x"])])
def test_a_registry_that_says_nothing_useful_gives_no_gpu(answer):
    assert AppleSource(lambda _: answer, is_mac=True).read() == ()


def test_a_registry_entry_without_figures_is_shown_by_name():
    (gpu,) = AppleSource(lambda _: plistlib.dumps([{"PerformanceStatistics": 3}]), is_mac=True).read()
    assert (gpu.name, gpu.utilization_percent) == ("Apple GPU", None)


def test_elsewhere_no_registry_is_asked():
    def never(_):
        raise AssertionError

    assert AppleSource(never, is_mac=False).read() == ()
    AppleSource(never, is_mac=False).close()


def test_a_command_that_is_not_there_or_takes_too_long_says_nothing():
    assert host.run(("idlewatt-no-such-command",)) == b""
    assert host.run(("sleep", "5"), timeout_s=0.05) == b""


def test_looking_every_two_seconds_takes_less_than_a_hundredth_of_a_core(tmp_path):
    sampler = HardwareSampler(default_sources(tree(tmp_path, AMD)))
    sampler.sample()  # imports and names once
    start = time.thread_time()
    for _ in range(20):
        sampler.sample()
    sampler.close()
    assert (time.thread_time() - start) / 20 / 2.0 < 0.01
