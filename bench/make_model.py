"""Writes GGUF models of real shapes with random weights: they compute what real ones compute, without a download.

``python -m bench.make_model`` prints where the file lies. Weights are drawn in the stored form (Q8_0: blocks of 32
signed bytes and one scale), so half a billion of them take seconds, and one seed gives one file. What a measurement
needs is built in: an answer runs to its limit, because the logits of all control tokens and single bytes are zero,
where the best of many drawn ones is four deviations higher; and text and tokens map one to one, because each word of
up to four letters after a space is a token of its own, as far as the vocabulary goes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.cache import cache_folder

SEED = 7
BLOCK = 32
"""Weights that share a scale in Q8_0."""
UNIFORM_DEVIATION = float(np.std(np.arange(-127, 128)))
LOGIT_DEVIATION = 3.0
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END, TURN_START, TURN_END = range(3)
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class ModelShape:
    """The measures of a llama-architecture network with grouped heads."""

    name: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    context: int = 32_768


SHAPES = {
    "0.5B": ModelShape("0.5B", width=896, layers=24, heads=14, kv_heads=2, hidden=4_864, vocabulary=151_936),
    "41M": ModelShape("41M", width=512, layers=12, heads=8, kv_heads=8, hidden=1_536, vocabulary=4_096),
}
"""Half a billion as in Qwen2.5-0.5B, and a small one that one core decodes at a hundred tokens a second."""


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = {*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def words(count: int) -> Iterator[str]:
    """The first `count` words: all of one letter, then all of two, and so on, each after a space."""
    letters = string.ascii_lowercase
    every = (" " + "".join(word) for length in itertools.count(1) for word in itertools.product(letters, repeat=length))
    return itertools.islice(every, count)


def vocabulary(size: int) -> tuple[list[str], list[str]]:
    """Tokens and merges: control tokens, every byte, and words, each merged from the word one letter shorter."""
    symbols = byte_symbols()
    first = len(SPECIAL) + len(symbols)
    spelled = [symbols[ord(" ")] + word[1:] for word in words(size - first)]
    return [*SPECIAL, *symbols, *spelled], [f"{word[:-1]} {word[-1]}" for word in spelled]


def text_of(numbers: Sequence[int], shape: ModelShape) -> str:
    """As many words as there are numbers: each is one token of the shape's vocabulary."""
    known = list(words(shape.vocabulary - len(SPECIAL) - 256))
    return "".join(known[number % len(known)] for number in numbers)


def make_model(shape: ModelShape, *, folder: Path | None = None, seed: int = SEED) -> Path:
    """The model's file; written first if it is not there."""
    path = (folder or cache_folder()) / f"random-{shape.name}-{seed}-q8_0.gguf"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
        _write(unfinished, shape, np.random.default_rng(seed))
        unfinished.replace(path)
    return path


def _write(path: Path, shape: ModelShape, draw: np.random.Generator) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape)
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    ones = np.ones(width, dtype=np.float32)

    def add(name: str, rows: int, columns: int, deviation: float, *, silent: int = 0) -> None:
        packed = _draw_q8_0(draw, rows, columns, deviation, silent=silent)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    add("token_embd", shape.vocabulary, width, 1.0)
    writer.add_tensor("output_norm.weight", ones)
    # An output of its own, not the embedding: else the best next token is mostly the one that was just read.
    silent = len(SPECIAL) + 256
    add("output", shape.vocabulary, width, LOGIT_DEVIATION / width**0.5, silent=silent)
    for layer in range(shape.layers):
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", kv_width, width),
            ("attn_v", kv_width, width),
            ("attn_output", width, width),
            ("ffn_gate", shape.hidden, width),
            ("ffn_up", shape.hidden, width),
            ("ffn_down", width, shape.hidden),
        ):
            add(f"blk.{layer}.{name}", rows, columns, columns**-0.5)
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _draw_q8_0(
    draw: np.random.Generator, rows: int, columns: int, deviation: float, *, silent: int
) -> NDArray[np.uint8]:
    """Rows of Q8_0 blocks, each a half-precision scale and 32 drawn bytes; the first `silent` rows are zero."""
    blocks = np.zeros((rows, columns // BLOCK, 2 + BLOCK), dtype=np.uint8)
    scale = np.array([deviation / UNIFORM_DEVIATION], dtype=np.float16)
    blocks[silent:, :, :2] = scale.view(np.uint8)
    blocks[:, :, 2:] = draw.integers(-127, 127, (rows, columns // BLOCK, BLOCK), np.int8, endpoint=True).view(np.uint8)
    return blocks.reshape(rows, -1)


def _describe(writer: gguf.GGUFWriter, shape: ModelShape) -> None:
    tokens, merges = vocabulary(shape.vocabulary)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(f"Random {shape.name}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(TURN_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main() -> None:
    """Write the model and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="0.5B")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make_model(SHAPES[options.shape], seed=options.seed))


if __name__ == "__main__":
    main()
