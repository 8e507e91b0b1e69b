"""Says before loading whether a model fits into memory, and how much context it gets.

Three parts: the weights, the key-value cache, and llama.cpp's work space, whose formulas are in
``node/models/work_space.py``.
``tests/node/models/test_fit_measured.py`` loads models of many shapes and holds the sum to within a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from node.models.gguf import GgufInfo
from node.models.model_error import ModelError
from node.models.work_space import (
    CONTEXT_STEP_TOKENS,
    MAX_EMBED_TOKENS,
    ContextShape,
    cache_bytes,
    embed_context,
    round_up,
    work_bytes,
)
from node.values.models import KV_BYTES, FitView

DEFAULT_CONTEXT_TOKENS = 4_096
MIN_CONTEXT_TOKENS = 64
CPU_MICRO_BATCH_TOKENS = 128
GPU_MICRO_BATCH_TOKENS = 512
MAX_SEQUENCES: Final = 256
"""llama.cpp's own bound on the sequences of one context."""
PROCESS_BYTES: Final = 48 * 1024 * 1024
"""The worker without a model: Python and llama.cpp's code."""
VOCABULARY_TOKEN_BYTES: Final = 1_536
"""What llama.cpp and the worker keep for each token of a vocabulary: texts, merges, and tables to look them up."""
HEADROOM_SHARE: Final = 0.05
MAX_HEADROOM_BYTES: Final = 512 * 1024 * 1024
"""What stays free for other programs, and for what the sum doesn't know: a share of what is free, up to this."""

_CGROUP = Path("/sys/fs/cgroup")


class Device(msgspec.Struct, frozen=True):
    """Where a model may be loaded: a name, and the memory that is free there."""

    name: str
    free_bytes: int
    is_gpu: bool = False
    parts: int = 1
    """GPUs that hold a model together, layer by layer."""


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
    slots: int = 1
    process_bytes: int = 0
    """The worker's own: its code and the vocabulary."""

    @property
    def needed_bytes(self) -> int:
        """Memory that llama.cpp takes for the model, in all."""
        return self.weights_bytes + self.cache_bytes + self.work_bytes

    @property
    def total_bytes(self) -> int:
        """Memory that the worker takes, in all."""
        return self.needed_bytes + self.process_bytes


def headroom_bytes(available_bytes: int, share: float = HEADROOM_SHARE, most_bytes: int = MAX_HEADROOM_BYTES) -> int:
    """What of the free memory no model is planned into.

    Args:
        available_bytes: Memory that is free.
        share: The part of it.
        most_bytes: The most of it.
    """
    return min(most_bytes, int(max(0, available_bytes) * share))


def plan(
    info: GgufInfo,
    *,
    available_bytes: int,
    slots: int,
    context_length: int | None = None,
    on_gpu: bool = False,
    kv_share: float = 1.0,
    flash_attention: bool | None = None,
    devices: int = 1,
) -> Fit:
    """The best plan that fits: every slot its full context if there is memory for that, else a shared cache.

    Args:
        info: The model.
        available_bytes: Memory that may be used.
        slots: Requests that run at once.
        context_length: Tokens a request may have; by default what the model was trained on, up to 4096.
        on_gpu: Whether a GPU computes: then flash attention is worth it, and larger micro-batches are.
        kv_share: Size of the key-value cache's form ÷ that of f16; a smaller one needs flash attention.
        flash_attention: Whether it is used; None for with a GPU or a smaller cache.
        devices: GPUs that share the model layer by layer.

    Raises:
        ModelError: With code ``model_too_big`` if even one full request doesn't fit.
    """
    tokens = _context(info, context_length)
    least, most = round_up(tokens), round_up(tokens) * slots
    at = _sizes(info, tokens, slots, on_gpu=on_gpu, kv_share=kv_share, flash_attention=flash_attention, devices=devices)

    usable_bytes = available_bytes - headroom_bytes(available_bytes)

    def fits(cells: int) -> bool:
        return at(cells).total_bytes <= usable_bytes

    fit = at(most)
    if not fits(most):
        fit = at(_largest(least, most, fits))
    if not fits(fit.cache_tokens):
        raise ModelError(
            f"{info.name} needs about {_gib(fit.total_bytes)} of memory "
            f"(weights {_gib(fit.weights_bytes)}, context {_gib(fit.cache_bytes)}, work space "
            f"{_gib(fit.work_bytes)}), and {_free(fit.total_bytes, available_bytes)}.",
            code="model_too_big",
            fix="Choose a smaller model or quantization, a shorter context, or close other programs.",
        )
    return fit


def assess(
    info: GgufInfo,
    *,
    model: str,
    device: Device,
    slots: int,
    context_length: int | None = None,
    kv_type: str = "f16",
) -> FitView:
    """Whether a model fits, with the numbers and a sentence that says how, or what would fit instead.

    Both speak of the plan that would be loaded; where it doesn't fit, of one full request. Where no context was asked
    for, the sentence adds the longest one for which every slot has room.

    Args:
        info: The model's header.
        model: What the model is called.
        device: Where it would be loaded.
        slots: Requests that run at once.
        context_length: Tokens a request may have; None for the model's own, up to 4096.
        kv_type: The form of the key-value cache.
    """
    tokens, kv_share = _context(info, context_length), KV_BYTES[kv_type] / KV_BYTES["f16"]
    available_bytes, on_gpu = device.free_bytes, device.is_gpu

    def needed(context: int, count: int) -> Fit:
        at = _sizes(info, context, count, on_gpu=on_gpu, kv_share=kv_share, devices=device.parts)
        return at(round_up(context) * count)

    def affordable(context: int, count: int) -> bool:
        return needed(context, count).total_bytes <= available_bytes - headroom_bytes(available_bytes)

    try:
        fit = plan(
            info, available_bytes=available_bytes, slots=slots, context_length=tokens, on_gpu=on_gpu,
            kv_share=kv_share, devices=device.parts,
        )  # fmt: skip
        does_fit = True
    except ModelError:
        fit, does_fit = needed(tokens, 1), False
    longest = info.context_length or DEFAULT_CONTEXT_TOKENS
    if does_fit and fit.cache_tokens >= round_up(tokens) * slots:
        sentence = f"fits with {_short(tokens)} context and {_slots(slots)}"
        if context_length is None and longest > tokens:
            most = min(longest, _largest(round_up(tokens), round_up(longest), lambda each: affordable(each, slots)))
            sentence += f" (up to {_short(most)})" if _short(most) != _short(tokens) else ""
    elif does_fit:
        sentence = f"fits with {_short(tokens)} context; {_slots(slots)} share {_short(fit.cache_tokens)}"
    else:
        short_of = f"needs {_gib(fit.total_bytes)} and {_free(fit.total_bytes, available_bytes)}"
        least = min(CONTEXT_STEP_TOKENS, tokens)
        if affordable(least, 1):
            room = _largest(CONTEXT_STEP_TOKENS, round_up(tokens), lambda each: affordable(each, 1))
            sentence = (
                f"doesn't fit with {_short(tokens)} context: it would with {_short(min(room, tokens))} and 1 slot"
            )
        else:
            sentence = f"doesn't fit: {short_of}"
    return FitView(
        model=model,
        fits=does_fit,
        sentence=sentence,
        device=device.name,
        available_bytes=max(0, available_bytes),
        needed_bytes=fit.total_bytes,
        weights_bytes=fit.weights_bytes,
        cache_bytes=fit.cache_bytes,
        work_bytes=fit.work_bytes,
        process_bytes=fit.process_bytes,
        headroom_bytes=headroom_bytes(available_bytes),
        context_length=fit.context_length,
        cache_tokens=fit.cache_tokens,
        slots=fit.slots,
        kv_type=kv_type,
    )


def available_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory this process can still take: what the machine has, or less where a control group says so."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return available
    return max(0, min(available, limit - used))


def _sizes(
    info: GgufInfo,
    tokens: int,
    slots: int,
    *,
    on_gpu: bool,
    kv_share: float,
    flash_attention: bool | None = None,
    devices: int = 1,
) -> Callable[[int], Fit]:
    """The plan by the cells of its cache."""
    micro_batch = GPU_MICRO_BATCH_TOKENS if on_gpu else CPU_MICRO_BATCH_TOKENS
    flash = flash_attention if flash_attention is not None else on_gpu or kv_share < 1
    # On a GPU the embeddings stay in main memory; where they are the output matrix too, the GPU gets a copy.
    left_out = info.embedding_bytes if on_gpu and not info.is_tied else 0
    # GPUs that share a model have a work space each, and no layer is cut in two: each seam may waste one.
    seams = (devices - 1) * info.tensor_bytes // max(1, info.layers)

    def context(cells: int) -> ContextShape:
        if info.embeds_only:
            return embed_context(min(tokens, MAX_EMBED_TOKENS), flash_attention=flash)
        sequences = min(MAX_SEQUENCES, slots * info.sequences_per_slot)
        return ContextShape(
            cells=cells,
            micro_batch_tokens=micro_batch,
            sequences=sequences,
            outputs=sequences,
            flash_attention=flash,
            cache_share=kv_share,
        )

    def at(cells: int) -> Fit:
        shape = context(cells)
        return Fit(
            context_length=tokens,
            cache_tokens=cells,
            micro_batch_tokens=micro_batch,
            flash_attention=flash,
            weights_bytes=info.tensor_bytes - left_out,
            cache_bytes=cache_bytes(info, shape),
            work_bytes=work_bytes(info, shape) * devices + seams,
            slots=slots,
            process_bytes=PROCESS_BYTES + VOCABULARY_TOKEN_BYTES * info.vocabulary_size,
        )

    return at


def _context(info: GgufInfo, asked: int | None) -> int:
    trained = info.context_length or DEFAULT_CONTEXT_TOKENS
    wanted = asked if asked is not None else min(trained, DEFAULT_CONTEXT_TOKENS)
    return max(MIN_CONTEXT_TOKENS, min(wanted, trained))


def _largest(least: int, most: int, fits: Callable[[int], bool]) -> int:
    """The largest whole number of steps from ``least`` to ``most`` that fits; ``least`` if none does."""
    low, high = least // CONTEXT_STEP_TOKENS, most // CONTEXT_STEP_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * CONTEXT_STEP_TOKENS) else (low, middle - 1)
    return low * CONTEXT_STEP_TOKENS


def _free(needed_bytes: int, available_bytes: int) -> str:
    """How much is free, and that some of it is to stay so where that decides."""
    kept = f", of which {_gib(headroom_bytes(available_bytes))} stay so" if needed_bytes <= available_bytes else ""
    return f"{_gib(max(0, available_bytes))} are free{kept}"


def _short(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"


def _gib(count: int) -> str:
    gib = count / 1024**3
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{count / 1024**2:.0f} MiB"
