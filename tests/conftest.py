"""What holds for every test."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that is given a fifth of its cores is no failure: how fast something is, benchmarks say.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

EXIT_S = 120
"""How long the interpreter may take to end after the last test."""

UNMEASURED = (
    "tests/bench/",
    "tests/chain/contracts/",
    "tests/docs/",
    "tests/packaging/",
    "tests/screens/",
)
"""Folders whose tests hardly run a line of ``chain``, ``wallet`` or ``node`` that others don't run, but much of py-evm
and Textual. Python 3.11 traces every line of a process or none: tracing doubled their time."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Pause the measurement of coverage, fixtures included, in the tests of some folders."""
    plugin: Any = item.config.pluginmanager.getplugin("_cov")
    coverage = plugin and plugin.cov_controller
    if not coverage or not coverage.started or not item.nodeid.startswith(UNMEASURED):
        return (yield)
    coverage.pause()
    try:
        return (yield)
    finally:
        coverage.resume()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # one of several: it waits for the others, and is ended by who started it
    # Last of all, when pytest has taken its own hands off the fault handler and gives standard error back.
    stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    config.add_cleanup(lambda: faulthandler.dump_traceback_later(EXIT_S, exit=True, file=stderr))
