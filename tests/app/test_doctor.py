"""The doctor names what is wrong, and the fix."""

import socket
import time

import pytest

from app.config import Config
from app.doctor import (
    check_clock,
    check_device,
    check_hardware,
    check_home,
    check_llama,
    check_port,
    check_python,
    check_relay,
    examine,
)
from app.home import Home
from node.hardware.rapl import ROOT_ONLY_FIX
from node.hardware.reading import DeviceReading
from node.relay.server import RelayServer
from node.values import Health


@pytest.mark.parametrize(
    ("version", "health"),
    [
        ((3, 10, 9), Health.FAIL),
        ((3, 11, 0), Health.OK),
        ((3, 12, 4), Health.OK),
        ((3, 13, 0), Health.OK),
        ((3, 14, 0), Health.FAIL),
    ],
)
def test_only_tested_pythons_pass(version, health):
    assert check_python(version).health is health


async def test_llama_is_asked_in_a_child_process():
    item = await check_llama()
    assert item.health is not Health.FAIL, item.detail


def test_a_taken_port_is_a_warning_with_a_fix(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        item = check_port(port, "relay", Home(tmp_path), Config())
    assert (item.health, item.fix) == (Health.WARN, "Choose another for `idlewatt relay`.")


def test_a_home_that_is_a_file_fails(tmp_path):
    (tmp_path / "home").write_text("")
    assert check_home(Home(tmp_path / "home")).health is Health.FAIL


async def test_a_running_relay_is_found_and_tells_the_time():
    relay = RelayServer("127.0.0.1", 0)
    await relay.start()
    try:
        item, date = await check_relay(relay.url)
    finally:
        await relay.close()
    assert item.health is Health.OK
    assert check_clock(date, time.time()).health is Health.OK


def test_a_clock_that_is_off_is_a_warning():
    item = check_clock(1_000.0, 1_060.0)
    assert (item.health, item.detail) == (Health.WARN, "This machine's clock is 1 min ahead of the relay's.")
    assert check_clock(1_000.0, 1_600.0).health is Health.FAIL


def test_the_hardware_says_what_tells_about_it_and_whether_power_is_measured(tmp_path):
    card = tmp_path / "class/drm/card0/device"
    (card / "hwmon/hwmon0").mkdir(parents=True)
    (card / "vendor").write_text("0x1002\n")
    (card / "hwmon/hwmon0/power1_average").write_text("42000000\n")
    items = check_hardware(tmp_path)
    assert items[-1].name == "cpu"
    amd = next(item for item in items if "amdgpu" in item.detail)
    assert (amd.health, "42 W now" in amd.detail) == (Health.OK, True)


@pytest.mark.parametrize(
    ("is_locked", "health", "fix"), [(True, Health.WARN, ROOT_ONLY_FIX), (False, Health.OK, "cpu_w")]
)
def test_power_that_is_guessed_says_how_to_make_it_better(is_locked, health, fix):
    cpu = DeviceReading(device_id="cpu", name="Ryzen", kind="cpu", source="psutil")
    item = check_device(cpu, is_locked=is_locked)
    assert (item.health, "its power is estimated" in item.detail) == (health, True)
    assert fix in item.fix


async def test_unreachable_relay_and_chain_fail_and_the_rest_is_still_checked(tmp_path):
    config = Config(relay="ws://127.0.0.1:1", chain="http://127.0.0.1:1")
    items = {item.name: item async for item in examine(Home(tmp_path), config)}

    assert items["relay"].health is items["chain"].health is Health.FAIL
    assert all(item.fix for item in items.values() if item.health is not Health.OK)
    assert {"python", "compiler", "llama.cpp", "home", "disk", "memory", "clock"} <= items.keys()
