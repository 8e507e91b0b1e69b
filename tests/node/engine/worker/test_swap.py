"""Sequences that leave the cache for main memory and come back, in llama.cpp itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest

from node.engine.worker.batch import Batch
from node.engine.worker.model import LoadedModel
from node.engine.worker.native import llama
from node.engine.worker.swap import MOST_SEQUENCES, SwappedSequence, SwapSpace
from tests.node.engine.helpers import load_frame
from tests.node.models.kinds import KINDS
from tests.node.models.shapes import Shape, write_shape

KINDS_OF_MEMORY = (
    "llama, many heads",
    "gemma3, a sliding window",
    "deepseek2, latent attention",
    "mamba2",
    "falcon-h1, both in each layer",
    "rwkv7",
)
PROMPT = [300 + (7 * index) % 900 for index in range(120)]
OTHER = [300 + (11 * index) % 900 for index in range(50)]
NEXT = 777


def write_random(path: Path, shape: Shape) -> Path:
    """A model of this shape whose weights are small and random."""
    write_shape(path, shape)
    random = np.random.default_rng(3)
    for tensor in gguf.GGUFReader(path, "r+").tensors:
        values = random.standard_normal(tensor.n_elements, dtype=np.float32) * 0.05
        if tensor.tensor_type is gguf.GGMLQuantizationType.F16:
            values = values.astype(np.float16)
        else:
            assert tensor.tensor_type is gguf.GGMLQuantizationType.F32
        tensor.data[...] = values.view(tensor.data.dtype).reshape(tensor.data.shape)
    return path


@contextmanager
def loaded(path: Path) -> Iterator[LoadedModel]:
    model = LoadedModel(
        load_frame(path, 512, 1024, slots=4, threads=2, gpu_layers=0, window_tokens=64, flush_ms=0.0),
        lambda _part: True,
    )
    try:
        yield model
    finally:
        model.close()


def read(model: LoadedModel, sequence: int, tokens: list[int], position: int = 0) -> np.ndarray:
    """Compute these tokens; the logits after the last."""
    batch = Batch(512, model.sequences)
    batch.add_prompt(tokens, position, sequence, last=True)
    assert batch.decode(model.context) == 0
    return np.array(llama.llama_get_logits_ith(model.context, -1)[: model.vocabulary.size])


@pytest.mark.parametrize("kind", KINDS_OF_MEMORY)
def test_a_sequence_goes_on_in_another_number_as_if_it_had_never_left(kind: str, tmp_path: Path):
    shape = KINDS[kind]
    if "attention.sliding_window" in shape.keys:
        shape = dataclasses.replace(shape, keys=shape.keys | {"attention.sliding_window": 64})
    with loaded(write_random(tmp_path / "model.gguf", shape)) as model:
        read(model, 0, PROMPT)
        state = model.save(0, 1 << 30)
        assert state is not None
        stayed = read(model, 0, [NEXT], len(PROMPT))
        model.forget(0)
        without = read(model, 1, [NEXT])
        read(model, 1, OTHER, 1)
        assert model.restore(2, state)
        back = read(model, 2, [NEXT], len(PROMPT))
    assert np.isfinite(stayed).all()
    spread = np.ptp(stayed)
    assert np.abs(back - stayed).max() < 1e-3 * spread
    assert np.abs(without - stayed).max() > 1e-2 * spread, "a model that forgets everything would pass"


def test_a_part_of_what_came_back_can_be_gone_on_from(tiny_model: Path):
    with loaded(tiny_model) as model:
        tokens = [5 + index % 40 for index in range(60)]
        expected = read(model, 0, [*tokens[:30], 9])
        model.forget(0)
        read(model, 0, tokens)
        # A part of it is another's too: what is copied is the one sequence.
        model.share(0, 1, 20)
        state = model.save(0, 1 << 30)
        assert state is not None
        model.forget(0)
        assert model.restore(3, state)
        model.cut(3, 30)
        np.testing.assert_allclose(read(model, 3, [9], 30), expected, atol=1e-4 * np.ptp(expected))


def test_what_is_too_large_or_finds_no_room_is_not_held(tiny_model: Path):
    with loaded(tiny_model) as model:
        tokens = [5 + index % 40 for index in range(400)]
        read(model, 0, tokens)
        state = model.save(0, 1 << 30)
        assert state is not None
        assert model.save(0, len(state) - 1) is None
        read(model, 1, tokens)
        read(model, 2, tokens[:200])
        assert not model.restore(3, state)
        model.forget(1)
        assert model.restore(3, state)


def test_no_more_sequences_are_held_than_can_be_looked_through():
    space = SwapSpace(1_000)
    held = [SwappedSequence("", [number], bytes(1)) for number in range(MOST_SEQUENCES + 2)]
    for one in held:
        space.put(one)
    assert list(space) == held[2:]
    space.use(held[2])
    assert list(space)[-1] is held[2]
    space.clear()
    assert (len(space), space.held_bytes) == (0, 0)
