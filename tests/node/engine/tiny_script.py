"""Writes a tiny GGUF that writes one given text after one given prompt: real for llama.cpp, and known by heart.

Its one layer attends to all tokens alike, so that each position's state tells which tokens came before, and mixes what
it sees with random weights. The output matrix is then solved for: each state of the script gives the next token.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from tests.node.engine.tiny import END, SPECIAL, TURN_END, vocabulary

WIDTH, HEADS = 512, 4
PAST = 4.0
"""How much of a state is what came before, and not the last token."""
MIXED = 8.0
EPSILON = 1e-5


def write_scripted(
    path: Path,
    *,
    template: str,
    prompt: str,
    script: str,
    control: tuple[str, ...] = (),
    user_defined: tuple[str, ...] = (),
    context: int = 512,
) -> Path:
    """Write the model.

    Args:
        path: Where to.
        template: Its chat template.
        prompt: What the template makes of the test's question.
        script: What it writes after that prompt; then it ends its turn.
        control: Control tokens of its vocabulary.
        user_defined: Tokens that are special and have text.
        context: Its context length.
    """
    tokens, merges = vocabulary()
    tokens = [*tokens, *control, *user_defined]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (
        len(tokens) - len(SPECIAL) - len(control) - len(user_defined)
    )
    kinds += [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.USER_DEFINED] * len(user_defined)
    random = np.random.default_rng(3)
    embedding = random.normal(0, 1, (len(tokens), WIDTH)).astype(np.float32)
    mixing = tuple(random.normal(0, 1 / np.sqrt(WIDTH), (WIDTH, WIDTH)).astype(np.float32) for _ in range(3))
    output = np.zeros_like(embedding)

    def write() -> None:
        _write(path, tokens, kinds, merges, template, embedding, mixing, output, context)

    write()
    reader = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    asked = reader.tokenize(prompt.encode(), add_bos=False, special=True)
    told = reader.tokenize(script.encode(), add_bos=False, special=True)
    reader.close()
    states = _states(embedding[[*asked, *told]], *mixing)[len(asked) - 1 :]
    assert len(states) < WIDTH, "the script is too long to be learnt by heart"
    targets = np.zeros((len(states), len(tokens)))
    targets[np.arange(len(states)), [*told, TURN_END]] = 30.0
    output[:] = (np.linalg.pinv(states) @ targets).T.astype(np.float32)
    write()
    return path


def _states(embedded: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """What the model's last norm gives at each position."""
    seen = np.cumsum(_norm(embedded), axis=0) / np.arange(1, len(embedded) + 1)[:, None]
    attended = embedded + PAST * seen
    gated = _norm(attended) @ gate.T
    mixed = gated / (1 + np.exp(-gated)) * (_norm(attended) @ up.T)
    return _norm(attended + MIXED * mixed @ down.T)


def _norm(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt(np.mean(rows.astype(np.float64) ** 2, axis=1, keepdims=True) + EPSILON)


def _write(
    path: Path,
    tokens: list[str],
    kinds: list[gguf.TokenType],
    merges: list[str],
    template: str,
    embedding: np.ndarray,
    mixing: tuple[np.ndarray, ...],
    output: np.ndarray,
    context: int,
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Scripted test model")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(TURN_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    ones, nothing = np.ones(WIDTH, dtype=np.float32), np.zeros((WIDTH, WIDTH), dtype=np.float32)
    same = np.eye(WIDTH, dtype=np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    for name in ("attn_q", "attn_k"):
        writer.add_tensor(f"blk.0.{name}.weight", nothing)
    gate, up, down = mixing
    for name, weights in (("ffn_gate", gate), ("ffn_up", up), ("ffn_down", np.float32(MIXED) * down)):
        writer.add_tensor(f"blk.0.{name}.weight", weights)
    writer.add_tensor("blk.0.attn_v.weight", same)
    writer.add_tensor("blk.0.attn_output.weight", np.float32(PAST) * same)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    writer.add_tensor("output.weight", output)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
