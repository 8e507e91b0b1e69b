"""Checks of a machine and a home, each with its fix."""

from __future__ import annotations

import asyncio
import email.utils
import shlex
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil

from app.config import Config
from app.home import Home
from app.llama_build import gpus, installation, judge, try_build
from chain.errors import IdlewattError
from chain.file_systems import network_type
from chain.urls import shown_url
from node.hardware.rapl import ROOT_ONLY_FIX, Rapl
from node.hardware.reading import DeviceReading
from node.hardware.sampler import HardwareSampler, default_sources
from node.market.clock import judge_clock
from node.values import Health, HealthItem

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
LEAST_FREE_DISK_BYTES = 2 * 2**30
LEAST_FREE_MEMORY_BYTES = 2**30
DATE_DOUBT_MS = 1_000.0
"""HTTP dates are whole seconds."""
POWER_INTERVAL_S = 0.25
DEFAULT_PORTS = {9000: "relay", 8545: "devnet --l1-port", 8547: "devnet --l2-port"}


async def examine(home: Home, config: Config) -> AsyncIterator[HealthItem]:
    """Run every check, in the order in which a newcomer meets them."""
    yield check_python()
    yield check_compiler()
    yield await check_llama()
    yield check_home(home)
    yield check_disk(home)
    yield check_memory()
    for item in await asyncio.to_thread(check_hardware):
        yield item
    for port, user in DEFAULT_PORTS.items():
        yield check_port(port, user, home, config)
    relay_date, read_s = None, 0.0
    if config.relay is None:
        yield HealthItem(
            name="relay",
            health=Health.WARN,
            detail="no relay is set",
            fix="Pass --relay ws://host:port once; `idlewatt demo` brings its own.",
        )
    else:
        relay_item, relay_date = await check_relay(config.relay)
        read_s = time.time()
        yield relay_item
    if config.chain is None:
        yield HealthItem(
            name="chain",
            health=Health.WARN,
            detail="no chain is set",
            fix="Pass --chain http://host:port once; `idlewatt demo` brings its own.",
        )
    else:
        yield await check_chain(config.chain)
    yield check_clock(relay_date, read_s)


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> HealthItem:
    """Whether this Python is one that Idlewatt is tested on."""
    detail = ".".join(str(part) for part in version)
    if OLDEST_PYTHON <= version[:2] <= NEWEST_PYTHON:
        return HealthItem(name="python", health=Health.OK, detail=detail)
    return HealthItem(
        name="python",
        health=Health.FAIL,
        detail=detail,
        fix="Use Python 3.11, 3.12 or 3.13: make demo PYTHON=python3.11",
    )


def check_compiler() -> HealthItem:
    """Whether llama.cpp could be built again on this machine."""
    missing = [tool for tool in ("gcc", "g++", "cmake", "make") if shutil.which(tool) is None]
    if not missing:
        return HealthItem(name="compiler", health=Health.OK, detail="gcc, g++, cmake and make are here")
    return HealthItem(
        name="compiler",
        health=Health.WARN,
        detail=f"missing: {', '.join(missing)}",
        fix="Needed to rebuild llama.cpp. On Debian: sudo apt install gcc g++ cmake make",
    )


async def check_llama() -> HealthItem:
    """Whether llama.cpp makes tokens, and whether it uses the GPUs that this machine has."""
    try:
        build = await try_build()
    except OSError as error:
        return HealthItem(
            name="llama.cpp",
            health=Health.FAIL,
            detail=f"no process of {sys.executable} can be started ({error.strerror or error})",
            fix="Mend its rights, or this system's limits.",
        )
    return judge(build, await asyncio.to_thread(gpus), installation())


def check_home(home: Home) -> HealthItem:
    """Whether the home can be written, and by its owner only."""
    try:
        home.prepare()
    except IdlewattError as error:
        return HealthItem(name="home", health=Health.FAIL, detail=error.message, fix=error.fix)
    if home.root.stat().st_mode & 0o077:
        return HealthItem(
            name="home",
            health=Health.WARN,
            detail=f"{home.root} can be read by others",
            fix=f"chmod 700 {shlex.quote(str(home.root))}",
        )
    if network := network_type(home.root):
        return HealthItem(
            name="home",
            health=Health.WARN,
            detail=f"{home.root} is on a network's disk ({network})",
            fix="Use it from one machine at a time, or choose a --home on a disk of this machine.",
        )
    return HealthItem(name="home", health=Health.OK, detail=f"{home.root}, owner only")


def check_disk(home: Home) -> HealthItem:
    """Whether the home's disk has room for logs and a model."""
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free"
    if free >= LEAST_FREE_DISK_BYTES:
        return HealthItem(name="disk", health=Health.OK, detail=detail)
    return HealthItem(name="disk", health=Health.WARN, detail=detail, fix="Free some space: models need gigabytes.")


def check_memory() -> HealthItem:
    """Whether there is memory for a model at all."""
    free = psutil.virtual_memory().available
    detail = f"{free / 2**30:.1f} GiB available"
    if free >= LEAST_FREE_MEMORY_BYTES:
        return HealthItem(name="memory", health=Health.OK, detail=detail)
    return HealthItem(
        name="memory", health=Health.WARN, detail=detail, fix="Close something, or rent out a smaller model."
    )


def check_hardware(sysfs: Path = Path("/sys")) -> list[HealthItem]:
    """The sources of facts about GPUs and processor, and whether power is measured or estimated."""
    sampler = HardwareSampler(default_sources(sysfs))
    try:
        first = sampler.sample()
        time.sleep(POWER_INTERVAL_S)  # a processor's power is the difference of two looks
        devices = sampler.sample().devices or first.devices
    finally:
        sampler.close()
    return [check_device(device, is_locked=device.kind == "cpu" and Rapl(sysfs).is_locked) for device in devices]


def check_device(device: DeviceReading, *, is_locked: bool = False) -> HealthItem:
    """One GPU or the processor: the source of its figures and of its power."""
    told = [
        word
        for word, value in (
            ("utilization", device.utilization_percent),
            ("memory", device.memory_total_bytes),
            ("temperature", device.temperature_c),
        )
        if value is not None
    ]
    if device.power_w is not None or device.energy_j is not None:
        watts = "" if device.power_w is None else f" ({device.power_w:.0f} W now)"
        detail = f"{device.name} by {device.source}: {', '.join([*told, 'power'])}{watts}"
        return HealthItem(name=device.kind, health=Health.OK, detail=detail)
    detail = f"{device.name} by {device.source}: {', '.join(told) or 'its name only'}; its power is estimated"
    if is_locked:
        return HealthItem(name=device.kind, health=Health.WARN, detail=detail, fix=ROOT_ONLY_FIX)
    fix = f"Set {device.kind}_w in [energy] to what it takes at most."
    return HealthItem(name=device.kind, health=Health.OK, detail=detail, fix=fix)


def check_port(port: int, user: str, home: Home, config: Config) -> HealthItem:
    """Whether a default port is free for the command that listens on it."""
    name = f"port {port}"
    in_use_by_ours = port in (urlsplit(address).port for address in (config.relay, config.chain) if address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            detail = "in use" + (" (this home's own relay or chain is set to it)" if in_use_by_ours else "")
            return HealthItem(
                name=name,
                health=Health.OK if in_use_by_ours else Health.WARN,
                detail=detail,
                fix="" if in_use_by_ours else f"Choose another for `idlewatt {user}`.",
            )
    return HealthItem(name=name, health=Health.OK, detail=f"free for `idlewatt {user.split()[0]}`")


async def check_relay(url: str) -> tuple[HealthItem, float | None]:
    """Whether the relay answers, and what time it says it is."""
    parts = urlsplit(url)
    address = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/healthz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(address) as response,
        ):
            response.raise_for_status()
            date = response.headers.get("Date")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return (
            HealthItem(
                name="relay",
                health=Health.FAIL,
                detail=f"{shown_url(url)} does not answer ({type(error).__name__})",
                fix="Start one with `idlewatt relay`, or pass another --relay.",
            ),
            None,
        )
    return HealthItem(name="relay", health=Health.OK, detail=f"{shown_url(url)} answers"), _seconds(date)


def _seconds(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None  # without the relay's time the clock is not checked


async def check_chain(url: str) -> HealthItem:
    """Whether the rollup answers."""
    from chain.client import RollupClient

    try:
        async with RollupClient(url, timeout_s=5.0) as client:
            info = await client.info()
    except IdlewattError as error:
        return HealthItem(name="chain", health=Health.FAIL, detail=error.message, fix=error.fix)
    return HealthItem(name="chain", health=Health.OK, detail=f"{shown_url(url)}, chain id {info.l2_chain_id}")


def check_clock(reference_s: float | None, now_s: float) -> HealthItem:
    """Whether this machine's clock agrees with the relay's: offers and channels expire by it."""
    if reference_s is None:
        return HealthItem(name="clock", health=Health.OK, detail="not compared: no relay answered")
    clock = judge_clock((now_s - reference_s) * 1000, DATE_DOUBT_MS)
    return HealthItem(name="clock", health=clock.health, detail=clock.line, fix=clock.fix)
