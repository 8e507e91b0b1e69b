"""Writes the demo model's weights and tokenizer as one GGUF file that llama.cpp reads as an ordinary llama model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.demo_model import tokenizer as bpe


@dataclass(frozen=True)
class Shape:
    """The measures of a llama-architecture network.

    Attributes:
        vocabulary: Tokens.
        context: Longest conversation, in tokens.
        width: Size of the residual stream.
        layers: Transformer blocks.
        heads: Attention heads, each `width / heads` wide.
        hidden: Inner size of the gated feed-forward part.
        rope_base: The base of the rotary embedding's wavelengths.
        norm_epsilon: What RMSNorm adds to the mean square.
    """

    vocabulary: int = 1024
    context: int = 1024
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 256
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


def write_gguf(path: Path, shape: Shape, weights: Mapping[str, NDArray[np.float32]], vocabulary: bpe.Tokenizer) -> str:
    """Write a model and return the file's SHA-256.

    Matrices are stored as F16, vectors as F32. The output layer shares the token embedding, so it is not written.
    The rotary embedding turns neighbouring pairs, as llama.cpp does for this architecture: no weight is permuted.

    Args:
        path: The file to write.
        shape: The network's measures.
        weights: GGUF tensor names (`blk.0.attn_q.weight`) to arrays, rows first.
        vocabulary: The tokenizer whose ids the embedding's rows follow.
    """
    writer = gguf.GGUFWriter(path, "llama")
    _write_description(writer, shape)
    _write_tokenizer(writer, vocabulary)
    for name, values in weights.items():
        writer.add_tensor(name, values.astype(np.float32 if values.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_tokenizer(path: Path) -> bpe.Tokenizer:
    """Read back the tokenizer of a model that `write_gguf` wrote."""
    merges = gguf.GGUFReader(path).fields["tokenizer.ggml.merges"].contents()
    return bpe.Tokenizer(tuple(tuple(merge.split(" ")) for merge in merges))


def _write_description(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Idlewatt demo")
    writer.add_description("A tiny chat model for first runs: small sums, comparisons, and questions about Idlewatt.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)


def _write_tokenizer(writer: gguf.GGUFWriter, vocabulary: bpe.Tokenizer) -> None:
    special = len(bpe.SPECIAL_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(bpe.PRE_TOKENIZER)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(
        [
            gguf.TokenType.CONTROL if number < special else gguf.TokenType.NORMAL
            for number in range(len(vocabulary.tokens))
        ]
    )
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(bpe.END_OF_TEXT_ID)
    writer.add_eos_token_id(bpe.TURN_END_ID)
    writer.add_pad_token_id(bpe.END_OF_TEXT_ID)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(bpe.CHAT_TEMPLATE)
