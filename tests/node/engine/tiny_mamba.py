"""Writes a tiny Mamba GGUF with random weights: a recurrent model, whose state can't be cut or shared in part."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.node.engine.tiny import CHATML, END, SPECIAL, TURN_END, vocabulary

WIDTH, INNER, STATES, KERNEL, RANK = 32, 64, 8, 4, 4


def write_tiny_mamba(path: Path, *, layers: int = 2, seed: int = 7) -> Path:
    """Write the model."""
    tokens, merges = vocabulary()
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_name("Tiny recurrent test model")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATES)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    )
    writer.add_token_merges(merges)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(TURN_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, 1 / np.sqrt(columns), (rows, columns)).astype(np.float32)

    output = matrix(len(tokens), WIDTH) * 3
    output[[END, TURN_END]] = 0
    writer.add_tensor("token_embd.weight", matrix(len(tokens), WIDTH) * np.float32(6))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        for name, tensor in (
            ("attn_norm.weight", np.ones(WIDTH, dtype=np.float32)),
            ("ssm_in.weight", matrix(2 * INNER, WIDTH)),
            ("ssm_conv1d.weight", matrix(INNER, KERNEL)),
            ("ssm_conv1d.bias", np.zeros(INNER, dtype=np.float32)),
            ("ssm_x.weight", matrix(RANK + 2 * STATES, INNER)),
            ("ssm_dt.weight", matrix(INNER, RANK)),
            ("ssm_dt.bias", np.zeros(INNER, dtype=np.float32)),
            ("ssm_a", -np.abs(matrix(INNER, STATES)) - np.float32(0.1)),
            ("ssm_d", np.ones(INNER, dtype=np.float32)),
            ("ssm_out.weight", matrix(WIDTH, INNER)),
        ):
            writer.add_tensor(f"blk.{layer}.{name}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
