"""The random model is the same every time, and its words are its tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.engine_greedy import agreeing
from bench.make_model import SPECIAL, ModelShape, make_model, text_of, vocabulary
from node.models.gguf import inspect

llama_cpp = pytest.importorskip("llama_cpp")
TINY = ModelShape("tiny", width=64, layers=2, heads=4, kv_heads=2, hidden=128, vocabulary=1_200, context=256)


def test_one_seed_gives_one_file_and_another_seed_another(tmp_path: Path):
    path = make_model(TINY, folder=tmp_path, seed=1)
    first = path.read_bytes()
    path.unlink()
    assert make_model(TINY, folder=tmp_path, seed=1).read_bytes() == first
    assert make_model(TINY, folder=tmp_path, seed=2).read_bytes() != first


def test_a_file_that_is_there_is_not_written_again(tmp_path: Path):
    path = make_model(TINY, folder=tmp_path)
    written = path.stat().st_mtime_ns
    assert make_model(TINY, folder=tmp_path).stat().st_mtime_ns == written
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_header_says_the_shape(tmp_path: Path):
    info = inspect(make_model(TINY, folder=tmp_path))
    assert (info.layers, info.embedding_length, info.heads, info.kv_heads_per_layer) == (2, 64, 4, (2, 2))
    assert (info.vocabulary_size, info.quantization, info.context_length) == (1_200, "Q8_0", 256)


def test_each_word_is_one_token_and_comes_back_as_text(tmp_path: Path):
    model = llama_cpp.Llama(str(make_model(TINY, folder=tmp_path)), vocab_only=True, verbose=False)
    try:
        numbers = [0, 25, 26, 700, 701, 702, 940]
        text = text_of(numbers, TINY)
        tokens = model.tokenize(text.encode(), add_bos=False, special=True)
        assert tokens == [len(SPECIAL) + 256 + number for number in numbers]
        assert model.detokenize(tokens).decode() == text
    finally:
        model.close()


def test_greedy_answers_run_to_their_limit(tmp_path: Path):
    model = llama_cpp.Llama(str(make_model(TINY, folder=tmp_path)), n_ctx=256, verbose=False, n_threads=1)
    try:
        # One token: the high-level API can't leave out the AMX kernels, which crash on prompts of two.
        answer = model(text_of([30], TINY), max_tokens=40, temperature=0.0)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert len(answer["choices"][0]["text"].split()) == answer["usage"]["completion_tokens"] == 40
    finally:
        model.close()


def test_every_merge_makes_a_token_of_tokens():
    tokens, merges = vocabulary(30_000)
    known = set(tokens)
    assert len(known) == len(tokens) == 30_000
    for merge in merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(" a b c", " a b c", (3, 3)), (" a b c", " a x c", (1, 3)), (" a b", " a b c", (2, 3)), ("", " a", (0, 1))],
)
def test_agreement_ends_at_the_first_token_that_differs(one: str, other: str, expected: tuple[int, int]):
    assert agreeing(one, other) == expected
