import hashlib
import random

import gguf
import numpy as np
import pytest

from bench.demo_model import tokenizer as bpe
from bench.demo_model.evaluate import Model
from bench.demo_model.export import Shape, read_tokenizer, write_gguf

SHAPE = Shape(vocabulary=288, context=128, width=64, layers=2, heads=2, hidden=96)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model with random weights, and its hash."""
    numbers = np.random.default_rng(1)
    square, up, down = (SHAPE.width,) * 2, (SHAPE.hidden, SHAPE.width), (SHAPE.width, SHAPE.hidden)
    shapes = {"token_embd": (SHAPE.vocabulary, SHAPE.width), "output_norm": (SHAPE.width,)}
    for layer in range(SHAPE.layers):
        parts = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
        parts |= {"ffn_gate": up, "ffn_up": up, "ffn_down": down, "attn_norm": square[:1], "ffn_norm": square[:1]}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    weights = {f"{name}.weight": numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("export") / "random.gguf"
    vocabulary = bpe.train(["what is a channel? what is the rollup? 17 + 25 = 42"], SHAPE.vocabulary)
    return path, write_gguf(path, SHAPE, weights, vocabulary), vocabulary


def test_the_hash_given_back_is_that_of_the_file(written):
    path, digest, _ = written
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_the_file_names_what_it_is(written):
    fields = gguf.GGUFReader(written[0]).fields
    assert fields["general.architecture"].contents() == "llama"
    assert fields["general.name"].contents() == "Idlewatt demo"
    assert fields["general.license"].contents() == "Apache-2.0"
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_F16
    assert fields["llama.context_length"].contents() == SHAPE.context
    assert fields["tokenizer.chat_template"].contents() == bpe.CHAT_TEMPLATE


def test_matrices_are_half_precision_and_vectors_are_not(written):
    for tensor in gguf.GGUFReader(written[0]).tensors:
        expected = gguf.GGMLQuantizationType.F32 if len(tensor.shape) == 1 else gguf.GGMLQuantizationType.F16
        assert tensor.tensor_type == expected


def test_the_tokenizer_comes_back_from_the_file(written):
    assert read_tokenizer(written[0]) == written[2]


def test_llama_cpp_loads_it_and_answers_within_the_limit(written):
    model = Model(written[0])
    try:
        model.answer("what is a channel?")
        assert 0 < model.tokens <= 121
    finally:
        model.close()


def test_llama_cpp_cuts_random_text_into_the_same_tokens(written):
    rng = random.Random(1)
    model = Model(written[0])
    signs = "abc what ABC 0123456789 '’!?.,+-*/=<>|\n\t éßñ日本語 🙂 ½²"
    try:
        for _ in range(300):
            text = "".join(rng.choice(signs) for _ in range(rng.randrange(1, 40)))
            assert model.tokenize(text) == written[2].encode(text), repr(text)
    finally:
        model.close()
