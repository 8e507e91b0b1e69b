from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.engine.llama import LlamaEngine
from node.engine.loading import HostMachine
from node.engine.threads import Threads
from node.engine.tuning import TuningCache, candidates, tuning_key
from node.engine.worker.measure import CLEARLY_FASTER, clearly_fastest
from node.hardware.backend import usable_cores
from node.models.gguf import inspect
from tests.node.engine.helpers import answer, ask
from tests.node.engine.tiny import write_tiny
from tests.patience import PATIENCE_S

Make = Callable[..., LlamaEngine]


def test_few_numbers_are_tried_and_none_that_the_machine_lacks():
    for weights in (1, 1 << 28, 1 << 36):
        tried = candidates(weights)
        assert 1 <= len(tried) <= 5
        assert tried == tuple(sorted(set(tried)))
        assert tried[-1] <= usable_cores()


def test_what_was_measured_is_remembered_over_a_restart(tmp_path: Path):
    path = tmp_path / "home" / "threads.json"
    TuningCache(path).put("a", Threads(1, 1))
    assert TuningCache(path).get("a") == Threads(1, 1)
    assert TuningCache(path).get("b") is None


@pytest.mark.parametrize(
    "contents", [b"", b"[]", b'{"a": [0, 1]}', b'{"a": [1, 100000]}', b'{"\xff": [1, 1]}', b"x" * (2 << 20)], ids=len
)
def test_a_file_that_says_nothing_usable_is_nothing(tmp_path: Path, contents: bytes):
    path = tmp_path / "threads.json"
    path.write_bytes(contents)
    assert TuningCache(path).get("a") is None


def test_the_file_does_not_grow_without_end(tmp_path: Path):
    cache = TuningCache(tmp_path / "threads.json", max_entries=2)
    for key in "abc":
        cache.put(key, Threads(1, 1))
    assert [cache.get(key) is not None for key in "abc"] == [False, True, True]


def test_a_file_that_can_not_be_written_costs_nothing_but_a_measurement(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cache = TuningCache(tmp_path / "file" / "threads.json")
    cache.put("a", Threads(1, 1))
    assert cache.get("a") == Threads(1, 1)


def test_the_key_is_the_models_shape_and_not_its_values(tmp_path: Path):
    keys = [
        tuning_key(inspect(write_tiny(tmp_path / f"{at}.gguf", **more)), build="1", slots=slots)
        for at, (more, slots) in enumerate([({}, 4), ({"seed": 9}, 4), ({"layers": 3}, 4), ({}, 5)])
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


async def test_threads_are_measured_once_for_a_model(make_engine: Make, tiny_model: Path, tmp_path: Path):
    machine = HostMachine(thread_candidates=lambda _weights: (1, 2))
    path = tmp_path / "threads.json"
    for measured in (True, False):
        async with make_engine(tiny_model, threads=None, tuning=TuningCache(path), machine=machine) as engine:
            assert bool(engine.prepared.load.try_threads) is measured
            await answer(engine, ask())
            async with asyncio.timeout(PATIENCE_S):
                while not path.is_file():
                    await asyncio.sleep(0.01)
            assert engine._supervisor.worker_info.threads.single in (1, 2)


async def test_a_number_that_was_given_stays(make_engine: Make, tiny_model: Path, tmp_path: Path):
    path = tmp_path / "threads.json"
    async with make_engine(tiny_model, threads=1, tuning=TuningCache(path)) as engine:
        assert engine._supervisor.worker_info.threads == Threads(1, 1)
    assert not path.exists()


@given(seconds=st.dictionaries(st.integers(1, 64), st.floats(0.001, 10), min_size=1))
def test_another_number_of_threads_must_be_clearly_faster_than_the_preferred_one(seconds):
    chosen = clearly_fastest(seconds)
    preferred = next(iter(seconds))
    assert seconds[chosen] <= min(seconds.values()) / CLEARLY_FASTER
    assert chosen == preferred or seconds[chosen] < CLEARLY_FASTER * seconds[preferred]


def test_a_number_that_was_never_tried_is_not_chosen():
    assert clearly_fastest({1: 0.2, 2: math.inf, 4: math.inf}) == 1
