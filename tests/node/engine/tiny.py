"""Writes a tiny llama-architecture GGUF with random weights: real for llama.cpp, small enough to write in a test."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END, TURN_START, TURN_END = range(3)
WORDS = (
    "the",
    "and",
    "ing",
    " to",
    " of",
    " in",
    "user",
    "assistant",
    "system",
    "hello",
    "model",
    " 42",
    "\u00e9",
    "\U0001f600",
)


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges: the special ones, every byte, and the words with all their left-to-right parts."""
    symbols = byte_symbols()
    tokens, merges = [*SPECIAL, *symbols], []
    for word in WORDS:
        parts = [symbols[byte] for byte in word.encode()]
        left = parts[0]
        for part in parts[1:]:
            if left + part not in tokens:
                tokens.append(left + part)
                merges.append(f"{left} {part}")
            left += part
    return tokens, merges


def write_tiny(
    path: Path,
    *,
    seed: int = 7,
    context: int = 512,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    template: str | None = CHATML,
    silent: tuple[int, ...] = (END, TURN_END),
    emphasis: dict[int, float] | None = None,
    bos: bool = False,
    extra_tokens: tuple[str, ...] = (),
    user_defined: tuple[str, ...] = (),
) -> Path:
    """Write the model; `silent` tokens are unlikely, so that answers run to their length; `emphasis` favours others.

    `extra_tokens` are ordinary ones; llama.cpp splits `user_defined` ones out of every text.
    """
    tokens, merges = vocabulary()
    tokens += (*extra_tokens, *user_defined)
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny test model")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(SPECIAL)
        + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL) - len(user_defined))
        + [gguf.TokenType.USER_DEFINED] * len(user_defined)
    )
    writer.add_token_merges(merges)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(TURN_END)
    writer.add_add_bos_token(bos)
    if bos:
        writer.add_bos_token_id(END)
    if template is not None:
        writer.add_chat_template(template)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, 1 / np.sqrt(columns), (rows, columns)).astype(np.float32)

    ones = np.ones(width, dtype=np.float32)
    embedding = matrix(len(tokens), width) * np.sqrt(width).astype(np.float32)
    output = matrix(len(tokens), width) * 3
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(layers):
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_output", width, width),
            ("ffn_gate", 2 * width, width),
            ("ffn_up", 2 * width, width),
            ("ffn_down", width, 2 * width),
        ):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(rows, columns))
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
    # A zero row gives a token the logit 0, which thousands of drawn logits beat: it is hardly ever the best one.
    for token in silent:
        output[token] = 0
    for token, factor in (emphasis or {}).items():
        output[token] *= factor
    writer.add_tensor("output.weight", output)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
