"""The one shape of a measurement's result: values with their unit, aim and spread, and the machine they hold for."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version

import msgspec
import psutil

MEASURED_PACKAGES = ("idlewatt", "llama-cpp-python", "llguidance", "textual", "aiohttp", "web3", "py-evm")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure."""

    metric: str
    value: float
    unit: str
    aim: str
    met: bool | None
    against: str
    spread: tuple[float, float] | None = None
    """The least and the greatest of the repeated runs whose median ``value`` is."""


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one program in ``bench/`` prints."""

    bench: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    results: list[Result]


def median_of(
    metric: str,
    samples: Sequence[float],
    unit: str,
    *,
    against: str,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Result:
    """A figure from repeated runs: their median, held against an aim where there is one."""
    value = statistics.median(samples)
    aim, met = "", None
    if at_least is not None:
        aim, met = f">= {at_least:g}", value >= at_least
    if at_most is not None:
        aim, met = f"<= {at_most:g}", value <= at_most
    spread = (round(min(samples), 4), round(max(samples), 4))
    return Result(metric=metric, value=round(value, 4), unit=unit, aim=aim, met=met, against=against, spread=spread)


def report(bench: str, results: Sequence[Result]) -> str:
    """The JSON of one program."""
    machine: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": psutil.cpu_count(logical=True) or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }
    versions = {name: version(name) for name in MEASURED_PACKAGES}
    whole = BenchReport(bench=bench, machine=machine, versions=versions, results=list(results))
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()
