"""Which tests' lines coverage counts.

Python 3.11 traces every line of a thread or none, also those of py-evm and Textual, and takes twice as long. So tracing
pauses where it would hardly count a line of ``chain``, ``wallet`` or ``node`` that no other test runs: coverage is a
little more than what is said.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

UNMEASURED = (
    "tests/app/",
    "tests/bench/",
    "tests/chain/contracts/",
    "tests/chain/test_l2beat.py",
    "tests/docs/",
    "tests/e2e/",
    "tests/packaging/",
    "tests/screens/",
    "tests/test_",
)
"""Folders and files whose tests aren't traced at all, nor the processes that they start."""
CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""The variable by which coverage tells child processes that they are traced."""
EVM_THREAD = "l1-evm"
"""What the embedded L1 calls its thread, in which nearly everything is py-evm."""
EVM_TESTS = "tests/chain/l1/"
"""The folder whose tests trace that thread."""


@contextmanager
def measured(item: pytest.Item) -> Iterator[None]:
    """Trace what counts of a test, its fixtures included; nothing where coverage isn't measured."""
    plugin: Any = item.config.pluginmanager.getplugin("_cov")
    coverage = plugin and plugin.cov_controller
    if not coverage or not coverage.started:
        yield
    elif item.nodeid.startswith(UNMEASURED):
        coverage.pause()
        children = os.environ.pop(CHILDREN, "")
        try:
            yield
        finally:
            if children:
                os.environ[CHILDREN] = children
            coverage.resume()
    elif item.nodeid.startswith(EVM_TESTS):
        yield
    else:
        with _evm_untraced():
            yield


@contextmanager
def _evm_untraced() -> Iterator[None]:
    """Don't trace EVM threads that start here."""
    trace = threading.gettrace()
    if trace is None:  # from Python 3.14 on coverage asks the interpreter to tell it, which costs next to nothing
        yield
        return

    def trace_others(frame: FrameType, event: str, arg: Any) -> Any:
        if threading.current_thread().name.startswith(EVM_THREAD):
            sys.settrace(None)
            return None
        return trace(frame, event, arg)

    threading.settrace(trace_others)
    try:
        yield
    finally:
        threading.settrace(trace)
