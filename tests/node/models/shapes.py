"""Writes GGUF files of any shape with no weights in them: sparse on disk, and whole for whoever reads the header."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.node.engine.tiny import CHATML, END, SPECIAL, TURN_END, vocabulary


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides how much memory a model takes."""

    arch: str = "llama"
    layers: int = 4
    width: int = 512
    heads: int = 8
    kv_heads: int = 8
    head: int | None = None
    feed_forward: int = 1536
    vocab: int = 4096
    context: int = 8192
    quant: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16
    norms: tuple[str, ...] = ()
    """Further one-row tensors a layer: those of one head's width end in ``_norm@head``."""
    biases: bool = False
    tied: bool = False
    experts: int = 0
    experts_used: int = 0
    keys: dict[str, Any] = field(default_factory=dict)
    """Further keys of this architecture; each may also replace one that is written anyway."""
    block: tuple[tuple[Any, ...], ...] = ()
    """A layer that is no transformer's: its tensors as name, rows, columns, instead of all the others."""
    outside: tuple[tuple[Any, ...], ...] = ()
    """Further tensors that belong to no layer."""
    finer: dict[str, gguf.GGMLQuantizationType] = field(default_factory=dict)
    """Another format for tensors whose name has this word in it, as mixed quantizations have."""


def write_shape(path: Path, shape: Shape) -> Path:
    """Write a model of this shape; all its weights are zero."""
    tokens, merges = vocabulary()
    tokens += [f"<filler {number}>" for number in range(shape.vocab - len(tokens))]
    head = shape.head or shape.width // shape.heads
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_name("A shape")
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    if "attention.layer_norm_rms_epsilon" not in shape.keys:
        writer.add_layer_norm_rms_eps(1e-5)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
    for key, value in shape.keys.items():
        name = f"{shape.arch}.{key}"
        writer.kv_data[0].pop(name, None)
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(TURN_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)

    def add(name: str, *dims: int, kind: gguf.GGMLQuantizationType = shape.quant) -> None:
        kind = next((finer for word, finer in shape.finer.items() if word in name), kind)
        kind = gguf.GGMLQuantizationType.F32 if len(dims) == 1 else kind
        if kind is gguf.GGMLQuantizationType.F32:
            writer.add_tensor_info(name, dims, np.dtype(np.float32), 4 * int(np.prod(dims)))
            return
        stored = gguf.quant_shape_to_byte_shape(dims, kind)
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)

    width, kv = shape.width, shape.kv_heads * head
    add("token_embd.weight", len(tokens), width)
    add("output_norm.weight", width)
    if not shape.tied:
        add("output.weight", len(tokens), width)
    for name, *dims in shape.outside:
        add(name, *dims)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for name, *dims in shape.block:
            add(f"{block}.{name}", *dims)
        if shape.block:
            continue
        for name, rows, columns in (
            ("attn_q", shape.heads * head, width),
            ("attn_k", kv, width),
            ("attn_v", kv, width),
            ("attn_output", width, shape.heads * head),
        ):
            add(f"{block}.{name}.weight", rows, columns)
            if shape.biases and name != "attn_output":
                add(f"{block}.{name}.bias", rows)
        add(f"{block}.attn_norm.weight", width)
        add(f"{block}.ffn_norm.weight", width)
        for norm in shape.norms:
            name, _, of = norm.partition("@")
            add(f"{block}.{name}.weight", head if of == "head" else width)
        if shape.experts:
            add(f"{block}.ffn_gate_inp.weight", shape.experts, width, kind=gguf.GGMLQuantizationType.F32)
            for name, rows, columns in (
                ("ffn_gate_exps", shape.feed_forward, width),
                ("ffn_up_exps", shape.feed_forward, width),
                ("ffn_down_exps", width, shape.feed_forward),
            ):
                add(f"{block}.{name}.weight", shape.experts, rows, columns)
        else:
            for name, rows, columns in (
                ("ffn_gate", shape.feed_forward, width),
                ("ffn_up", shape.feed_forward, width),
                ("ffn_down", width, shape.feed_forward),
            ):
                add(f"{block}.{name}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    data = sum(-(-info.nbytes // 32) * 32 for info in writer.tensors[0].values())
    for file in writer.fout or ():
        file.flush()
        end = -(-file.tell() // 32) * 32
        file.truncate(end + data)
    writer.close()
    return path
