"""Says before loading whether a model fits into memory, and how much context it gets.

The estimate is the sum of three parts: the weights as they lie in the file, an f16 key-value cache, and llama.cpp's
work space: arrays one micro-batch wide (residuals, the feed-forward layer), the attention scores of a micro-batch over
the whole cache unless flash attention saves them, and the logits.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import psutil

from node.models.gguf import GgufInfo, ModelError

DEFAULT_CONTEXT_TOKENS = 4_096
MIN_CONTEXT_TOKENS = 64
CONTEXT_STEP_TOKENS = 256
"""llama.cpp rounds a cache up to whole steps of this many cells."""
CPU_MICRO_BATCH_TOKENS = 128
GPU_MICRO_BATCH_TOKENS = 512
FIXED_OVERHEAD_BYTES = 32 * 1024 * 1024

_CGROUP = Path("/sys/fs/cgroup")


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A plan for loading a model: what each request may use, what all share, and what it takes."""

    context_length: int
    """Tokens one request may have, prompt and answer together."""
    cache_tokens: int
    """Tokens that all running requests may have together."""
    micro_batch_tokens: int
    flash_attention: bool
    weights_bytes: int
    cache_bytes: int
    work_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Memory in all."""
        return self.weights_bytes + self.cache_bytes + self.work_bytes


def plan(
    info: GgufInfo,
    *,
    available_bytes: int,
    slots: int,
    context_length: int | None = None,
    on_gpu: bool = False,
    kv_share: float = 1.0,
) -> Fit:
    """The best plan that fits: every slot its full context if there is memory for that, else a shared cache.

    Args:
        info: The model.
        available_bytes: Memory that may be used.
        slots: Requests that run at once.
        context_length: Tokens a request may have; by default what the model was trained on, up to 4096.
        on_gpu: Whether a GPU computes: then flash attention is worth it, and larger micro-batches are.
        kv_share: Size of the key-value cache's form ÷ that of f16.

    Raises:
        ModelError: With code ``model_too_big`` if even one full request doesn't fit.
    """
    trained = info.context_length or DEFAULT_CONTEXT_TOKENS
    wanted = context_length if context_length is not None else min(trained, DEFAULT_CONTEXT_TOKENS)
    tokens = max(MIN_CONTEXT_TOKENS, min(wanted, trained))
    least, most = _round_up(tokens), _round_up(tokens) * slots
    micro_batch = GPU_MICRO_BATCH_TOKENS if on_gpu else CPU_MICRO_BATCH_TOKENS
    work = _work_bytes(info, slots, micro_batch)
    # Per cell of the cache: its keys and values, the attention mask twice, and a score for every head.
    scores = 4 * micro_batch * (2 + (0 if on_gpu else info.heads))
    kv_per_token = math.ceil(info.kv_bytes_per_token * kv_share)
    per_token = kv_per_token + scores
    spare = available_bytes - info.tensor_bytes - work
    affordable = most if per_token * most <= spare else spare // per_token // CONTEXT_STEP_TOKENS * CONTEXT_STEP_TOKENS
    cells = min(most, max(least, affordable))
    fit = Fit(
        context_length=tokens,
        cache_tokens=cells,
        weights_bytes=info.tensor_bytes,
        micro_batch_tokens=micro_batch,
        flash_attention=on_gpu,
        cache_bytes=kv_per_token * cells,
        work_bytes=work + scores * cells,
    )
    if fit.needed_bytes > available_bytes:
        raise ModelError(
            f"{info.name} needs about {_gib(fit.needed_bytes)} of memory (weights {_gib(fit.weights_bytes)}, context "
            f"{_gib(fit.cache_bytes)}, work space {_gib(fit.work_bytes)}), and {_gib(max(0, available_bytes))} are "
            "free.",
            code="model_too_big",
            fix="Choose a smaller model or quantization, a shorter context, or close other programs.",
        )
    return fit


def available_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory this process can still take: what the machine has, or less where a control group says so."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return available
    return max(0, min(available, limit - used))


def _work_bytes(info: GgufInfo, slots: int, micro_batch: int) -> int:
    rows = 8 * info.embedding_length + 3 * info.feed_forward_length
    return FIXED_OVERHEAD_BYTES + 4 * (micro_batch * rows + 2 * slots * info.vocabulary_size)


def _round_up(tokens: int) -> int:
    return -(-tokens // CONTEXT_STEP_TOKENS) * CONTEXT_STEP_TOKENS


def _gib(count: int) -> str:
    gib = count / 1024**3
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{count / 1024**2:.0f} MiB"
