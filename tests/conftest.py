"""What holds for every test."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.measured import measured

# A machine that is given a fifth of its cores is no failure: how fast something is, benchmarks say.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

EXIT_S = 120
"""How long the interpreter may take to end after the last test."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let coverage count what it needs of each test."""
    with measured(item):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that no worker ends with one while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives until the end: modules and tests, which it would walk again and again."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # one of several: it waits for the others, and is ended by who started it
    # Last of all, when pytest has taken its own hands off the fault handler and gives standard error back.
    stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    config.add_cleanup(lambda: faulthandler.dump_traceback_later(EXIT_S, exit=True, file=stderr))
