"""Shapes of many kinds of models: transformers of several families, experts, latent attention, recurrent layers."""

from __future__ import annotations

import gguf

from tests.node.models.shapes import Shape

Q = gguf.GGMLQuantizationType
EPSILON = {"attention.layer_norm_rms_epsilon": 1e-6}
HEADS = ("attn_q_norm@head", "attn_k_norm@head")
FULL = {"conv1d": Q.F32, "ssm_a": Q.F32, "ssm_d": Q.F32, "ssm_norm": Q.F32, "lerp": Q.F32}
"""What llama.cpp computes with in full precision only."""


def feed_forward(width: int, inner: int) -> tuple[tuple[str, int, int], ...]:
    return (("ffn_gate.weight", inner, width), ("ffn_up.weight", inner, width), ("ffn_down.weight", width, inner))


def mamba() -> Shape:
    width, inner, state, kernel, rank = 768, 1536, 16, 4, 48
    return Shape(
        arch="mamba", layers=8, width=width, kv_heads=0, feed_forward=0, vocab=8000, finer=FULL,
        keys={"ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
              "ssm.time_step_rank": rank, "attention.head_count": 0},
        block=(
            ("attn_norm.weight", width), ("ssm_in.weight", 2 * inner, width), ("ssm_conv1d.weight", inner, kernel),
            ("ssm_conv1d.bias", inner), ("ssm_x.weight", rank + 2 * state, inner), ("ssm_dt.weight", inner, rank),
            ("ssm_dt.bias", inner), ("ssm_a", inner, state), ("ssm_d", inner), ("ssm_out.weight", width, inner),
        ),
    )  # fmt: skip


def mamba2_block(width: int, inner: int, state: int, kernel: int, heads: int) -> tuple[tuple[str | int, ...], ...]:
    convolved = inner + 2 * state
    return (
        ("attn_norm.weight", width), ("ssm_in.weight", inner + convolved + heads, width),
        ("ssm_conv1d.weight", convolved, kernel), ("ssm_conv1d.bias", convolved), ("ssm_dt.bias", heads),
        ("ssm_a", heads, 1), ("ssm_d", heads, 1), ("ssm_norm.weight", 1, inner), ("ssm_out.weight", width, inner),
    )  # fmt: skip


def mamba2() -> Shape:
    width, inner, state, kernel, heads = 768, 1536, 128, 4, 24
    return Shape(
        arch="mamba2", layers=8, width=width, kv_heads=0, feed_forward=0, vocab=8000, finer=FULL,
        keys={"ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.group_count": 1,
              "ssm.time_step_rank": heads, "attention.head_count": 0},
        block=mamba2_block(width, inner, state, kernel, heads),
    )  # fmt: skip


def falcon_h1() -> Shape:
    width, heads, kv, head, ff, inner, state, kernel, scans = 768, 12, 4, 64, 2048, 1536, 64, 4, 24
    return Shape(
        arch="falcon-h1", width=width, heads=heads, kv_heads=kv, head=head, feed_forward=ff, vocab=8000, finer=FULL,
        keys=EPSILON | {"ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state,
                        "ssm.group_count": 1, "ssm.time_step_rank": scans},
        block=(
            *mamba2_block(width, inner, state, kernel, scans), ("attn_q.weight", heads * head, width),
            ("attn_k.weight", kv * head, width), ("attn_v.weight", kv * head, width),
            ("attn_output.weight", width, heads * head), ("ffn_norm", width), *feed_forward(width, ff),
        ),
    )  # fmt: skip


def rwkv7() -> Shape:
    width, ff, rank = 768, 3072, 64
    low_rank = [
        tensor
        for part in "wavg"
        for tensor in (
            *([(f"time_mix_{part}0.weight", width)] if part != "g" else []),
            (f"time_mix_{part}1.weight", rank, width),
            (f"time_mix_{part}2.weight", width, rank),
        )
    ]
    return Shape(
        arch="rwkv7", layers=8, width=width, kv_heads=0, feed_forward=ff, vocab=8000, finer=FULL,
        keys={"wkv.head_size": 64, "token_shift_count": 2, "attention.head_count": 0,
              "attention.layer_norm_epsilon": 1e-5}
        | {f"attention.{name}_lora_rank": rank for name in ("decay", "iclr", "value_residual_mix", "gate")},
        outside=(("token_embd_norm.weight", width), ("token_embd_norm.bias", width), ("output_norm.bias", width)),
        block=(
            *((f"attn_norm{which}.{of}", width) for which in ("", "_2") for of in ("weight", "bias")), *low_rank,
            ("time_mix_lerp_fused.weight", 6, 1, 1, width),
            *((f"time_mix_{name}.weight", width) for name in ("k_k", "k_a", "r_k", "ln")), ("time_mix_ln.bias", width),
            *((f"time_mix_{name}.weight", width, width) for name in ("key", "value", "receptance", "output")),
            ("channel_mix_lerp_k.weight", 1, 1, width), ("channel_mix_key.weight", ff, width),
            ("channel_mix_value.weight", width, ff),
        ),
    )  # fmt: skip


def latent() -> Shape:
    layers, width, heads, q_rank, rank, plain, turned, value, ff = 6, 1024, 16, 384, 256, 64, 32, 64, 2816
    return Shape(
        arch="deepseek2", layers=layers, width=width, heads=heads, kv_heads=1, head=rank + turned, feed_forward=ff,
        vocab=8000,
        keys=EPSILON | {
            "leading_dense_block_count": layers, "expert_feed_forward_length": ff, "expert_shared_count": 0,
            "expert_weights_scale": 1.0, "rope.dimension_count": turned, "attention.q_lora_rank": q_rank,
            "attention.kv_lora_rank": rank, "attention.key_length_mla": plain + turned,
            "attention.value_length_mla": value, "attention.value_length": rank,
        },
        block=(
            ("attn_norm.weight", width), ("attn_q_a_norm.weight", q_rank), ("attn_kv_a_norm.weight", rank),
            ("attn_q_a.weight", q_rank, width), ("attn_q_b.weight", heads * (plain + turned), q_rank),
            ("attn_kv_a_mqa.weight", rank + turned, width), ("attn_k_b.weight", heads, rank, plain),
            ("attn_v_b.weight", heads, value, rank), ("attn_output.weight", width, heads * value),
            ("ffn_norm.weight", width), *feed_forward(width, ff),
        ),
    )  # fmt: skip


def phi3() -> Shape:
    width, ff = 1024, 4096
    return Shape(
        arch="phi3", width=width, heads=16, kv_heads=16, feed_forward=ff, vocab=8000,
        block=(
            ("attn_norm.weight", width), ("attn_qkv.weight", 3 * width, width), ("attn_output.weight", width, width),
            ("ffn_norm.weight", width), ("ffn_up.weight", 2 * ff, width), ("ffn_down.weight", width, ff),
        ),
    )  # fmt: skip


def gpt_oss() -> Shape:
    width, heads, kv, head, ff, experts = 768, 12, 4, 64, 768, 8
    projections = (("attn_q", heads * head), ("attn_k", kv * head), ("attn_v", kv * head))
    return Shape(
        arch="gpt-oss", width=width, heads=heads, kv_heads=kv, head=head, feed_forward=ff, vocab=8000,
        experts=experts, experts_used=4, finer={"gate_inp": Q.F32, "bias": Q.F32},
        keys=EPSILON | {"expert_feed_forward_length": ff, "attention.sliding_window": 128},
        block=(
            ("attn_norm.weight", width), ("post_attention_norm.weight", width), ("attn_sinks.weight", heads),
            *((f"{name}.weight", rows, width) for name, rows in projections),
            *((f"{name}.bias", rows) for name, rows in projections),
            ("attn_output.weight", width, heads * head), ("attn_output.bias", width),
            ("ffn_gate_inp.weight", experts, width), ("ffn_gate_inp.bias", experts),
            *((f"ffn_{name}_exps.weight", experts, ff, width) for name in ("gate", "up")),
            *((f"ffn_{name}_exps.bias", experts, ff) for name in ("gate", "up")),
            ("ffn_down_exps.weight", experts, width, ff), ("ffn_down_exps.bias", experts, width),
        ),
    )  # fmt: skip


KINDS = {
    "llama, many heads": Shape(layers=6, width=512, heads=8, kv_heads=8, feed_forward=1536, vocab=8000),
    "llama, few key heads": Shape(layers=12, width=896, heads=14, kv_heads=2, feed_forward=4864, vocab=20_000),
    "llama, full precision": Shape(layers=4, width=512, feed_forward=2048, vocab=6400, quant=Q.F32),
    "llama, Q8_0": Shape(layers=6, width=1024, heads=8, kv_heads=4, feed_forward=2816, quant=Q.Q8_0),
    "llama, Q4_K with Q6_K": Shape(
        layers=6, width=1024, heads=8, kv_heads=4, feed_forward=2816, vocab=16_000, quant=Q.Q4_K,
        finer={"output.w": Q.Q6_K, "attn_v": Q.Q6_K, "ffn_down": Q.Q6_K},
    ),
    "llama, a large vocabulary": Shape(layers=4, width=512, vocab=60_000, quant=Q.Q8_0),
    "llama, a wide feed-forward layer": Shape(layers=3, width=512, feed_forward=12_288, vocab=6400),
    "llama, experts": Shape(width=512, kv_heads=4, feed_forward=1024, experts=8, experts_used=2),
    "qwen2": Shape(
        arch="qwen2", layers=8, width=896, heads=14, kv_heads=2, feed_forward=4864, biases=True, keys=EPSILON
    ),
    "qwen3, heads wider than the model": Shape(
        arch="qwen3", layers=8, width=1024, heads=16, kv_heads=8, head=128, feed_forward=3072, norms=HEADS, keys=EPSILON
    ),
    "qwen3moe, experts": Shape(
        arch="qwen3moe", layers=4, width=512, heads=8, kv_heads=4, head=64, feed_forward=384, norms=HEADS, experts=16,
        experts_used=4, keys=EPSILON | {"expert_feed_forward_length": 384},
    ),
    "gemma2, a sliding window": Shape(
        arch="gemma2", layers=8, width=768, heads=4, kv_heads=2, head=256, feed_forward=2048, vocab=20_000, tied=True,
        norms=("post_attention_norm", "post_ffw_norm"), keys=EPSILON | {"attention.sliding_window": 512},
    ),
    "gemma3, a sliding window": Shape(
        arch="gemma3", layers=12, width=768, heads=4, kv_heads=1, head=256, feed_forward=2048, vocab=20_000, tied=True,
        norms=("post_attention_norm", "post_ffw_norm", *HEADS), keys=EPSILON | {"attention.sliding_window": 512},
    ),
    "phi3, one matrix for three": phi3(),
    "gpt-oss, experts and a sliding window": gpt_oss(),
    "deepseek2, latent attention": latent(),
    "mamba": mamba(),
    "mamba2": mamba2(),
    "falcon-h1, both in each layer": falcon_h1(),
    "rwkv7": rwkv7(),
}  # fmt: skip
