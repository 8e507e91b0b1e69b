"""Writes a tiny BERT GGUF with random weights: an embedding model as llama.cpp knows them."""

from __future__ import annotations

import string
from pathlib import Path

import gguf
import numpy as np

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_bert(path: Path, *, pooling: gguf.PoolingType = gguf.PoolingType.MEAN, width: int = 32) -> Path:
    """Write the model; its words are single letters, at the beginning of a word and inside it."""
    letters = string.ascii_lowercase + string.digits
    tokens = [*SPECIAL, *(f"\u2581{letter}" for letter in letters), *letters]
    random, layers, context, heads = np.random.default_rng(3), 2, 64, 2
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("Tiny embedder")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    )
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(2)
    writer.add_mask_token_id(4)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, dtype=np.float32))

    add("token_embd", len(tokens), width)
    add("position_embd", context, width)
    add("token_types", 2, width)
    add_norm("token_embd_norm")
    for layer in range(layers):
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_output", width, width),
            ("ffn_up", 2 * width, width),
            ("ffn_down", width, 2 * width),
        ):
            add(f"blk.{layer}.{name}", rows, columns)
            writer.add_tensor(f"blk.{layer}.{name}.bias", np.zeros(rows, dtype=np.float32))
        add_norm(f"blk.{layer}.attn_output_norm")
        add_norm(f"blk.{layer}.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
