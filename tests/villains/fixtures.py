"""The template of the arena as a fixture, built once a run."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.villains.arena import build_template

_built: dict[Path, Path] = {}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    if base not in _built:
        folder = tmp_path_factory.mktemp("arena")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(build_template(folder))).result()
        _built[base] = folder
    return _built[base]
