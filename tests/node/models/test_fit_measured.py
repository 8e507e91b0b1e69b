"""What ``fit`` says before loading, against what llama.cpp then reports for models of many shapes, in a real worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from node.engine.llama import LlamaEngine
from node.models.fit import plan
from node.models.gguf import inspect
from tests.node.models.shapes import Shape, write_shape

Q = gguf.GGMLQuantizationType
GIB = 1 << 30
TOLERANCE = 0.10
EPSILON = {"attention.layer_norm_rms_epsilon": 1e-6}
HEADS = ("attn_q_norm@head", "attn_k_norm@head")
SHAPES = {
    "llama, many heads": Shape(layers=6, width=512, heads=8, kv_heads=8, feed_forward=1536, vocab=8000),
    "llama, few key heads": Shape(layers=12, width=896, heads=14, kv_heads=2, feed_forward=4864, vocab=20_000),
    "llama, full precision": Shape(layers=4, width=512, feed_forward=2048, vocab=6400, quant=Q.F32),
    "llama, a large vocabulary": Shape(layers=4, width=512, vocab=60_000),
    "llama, a wide feed-forward layer": Shape(layers=3, width=512, feed_forward=12_288, vocab=6400),
    "qwen2": Shape(
        arch="qwen2", layers=8, width=896, heads=14, kv_heads=2, feed_forward=4864, biases=True, keys=EPSILON
    ),
    "qwen3, heads wider than the model": Shape(
        arch="qwen3", layers=8, width=1024, heads=16, kv_heads=8, head=128, feed_forward=3072, norms=HEADS, keys=EPSILON
    ),
    "gemma3, a sliding window": Shape(
        arch="gemma3", layers=12, width=768, heads=4, kv_heads=1, head=256, feed_forward=2048, vocab=20_000, tied=True,
        norms=("post_attention_norm", "post_ffw_norm", *HEADS), keys=EPSILON | {"attention.sliding_window": 512},
    ),
    "qwen3moe, experts": Shape(
        arch="qwen3moe", layers=4, width=512, heads=8, kv_heads=4, head=64, feed_forward=384, norms=HEADS, experts=16,
        experts_used=4, keys=EPSILON | {"expert_feed_forward_length": 384},
    ),
}  # fmt: skip
_BUFFER = re.compile(r"(\w+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")


def taken_bytes(log: str, tensor_bytes: int) -> int:
    """What llama.cpp's own lines add up to; weights that it mapped and then laid out anew don't count twice."""
    found = [(kind, float(mib) * 2**20) for _, kind, mib in _BUFFER.findall(log)]
    weights = sum(size for kind, size in found if kind == "model")
    other = sum(size for kind, size in found if kind != "model")
    assert weights > 0.9 * tensor_bytes
    assert other > 0
    return int(min(weights, tensor_bytes) + other)


@pytest.mark.parametrize("name", SHAPES)
async def test_the_estimate_is_within_a_tenth_of_what_llama_cpp_takes(
    name: str, tmp_path: Path, make_engine: Callable[..., LlamaEngine]
):
    path = write_shape(tmp_path / "shape.gguf", SHAPES[name])
    info = inspect(path)
    fit = plan(info, available_bytes=64 * GIB, slots=4, context_length=2048)
    async with make_engine(path, slots=4, context_length=2048):
        log = (tmp_path / "logs" / "engine.log").read_text()
    taken = taken_bytes(log, info.tensor_bytes)
    assert fit.needed_bytes == pytest.approx(taken, rel=TOLERANCE), (fit, log[-2000:])
