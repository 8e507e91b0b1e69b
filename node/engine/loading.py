"""Decides how a model is loaded, by looking at its file and at the memory before llama.cpp does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from node.engine import frames as wire
from node.engine.placement import Placement
from node.engine.threads import Threads, default_threads
from node.engine.tuning import TuningCache, candidates, tuning_key
from node.engine.worker.cache import KEPT_FOR_TOKENS
from node.hardware.backend import installed_backend, llama_version
from node.models.errors import ModelError
from node.models.fit import Fit, available_memory_bytes, plan
from node.models.gguf import GgufInfo, inspect

MAX_LAYERS = 512
"""llama.cpp's own bound (`LLAMA_MAX_LAYERS`): it aborts above it, as it does without any."""
_SWAP_SHARE = 4
"""Kept sequences take at most a quarter of the memory that is left beside the model."""
_NO_LIMIT = 1 << 60


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose about a model; None means that the model and the machine decide."""

    model_path: Path
    context_length: int | None
    slots: int
    queue_limit: int
    threads: int | None
    gpu_layers: int
    window_tokens: int
    flush_ms: float
    share_prefixes: bool = False
    placement: Placement = Placement()


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was looked at and fits."""

    gguf: GgufInfo
    fit: Fit
    load: wire.Load
    tuning_key: str
    """Under which the threads that are measured are remembered; empty if they are not measured."""


def prepare(settings: LoadSettings, tuning: TuningCache | None = None) -> Prepared:
    """Inspect the file and plan its memory and threads; blocks while it reads the header.

    Raises:
        ModelError: With code ``model_unusable`` or ``model_too_big``.
    """
    info = inspect(settings.model_path)
    if not 0 < info.layers <= MAX_LAYERS:
        raise ModelError(
            f"{info.name} claims {info.layers} layers, and can have 1 to {MAX_LAYERS}.", fix="Choose another model."
        )
    on_gpu = settings.gpu_layers != 0 and installed_backend() != "cpu"
    # What a GPU takes off the main memory is known to llama.cpp only: it refuses what doesn't fit.
    placement = settings.placement
    if not placement.suits((info.key_length, info.value_length)):
        raise ModelError(
            f"{info.name} can't have a {placement.kv_type} cache: its heads are not whole blocks of 32 values.",
            code="model_unusable",
            fix="Use an f16 cache.",
        )
    flash_attention = placement.uses_flash_attention(on_gpu=on_gpu)
    fit = plan(
        info,
        available_bytes=_NO_LIMIT if on_gpu else available_memory_bytes(),
        slots=settings.slots,
        context_length=settings.context_length,
        on_gpu=on_gpu,
        kv_share=placement.kv_share,
        flash_attention=flash_attention,
    )
    swap_bytes = swap_limit(fit, available_memory_bytes(), on_gpu=on_gpu)
    rule = default_threads(info.tensor_bytes)
    threads, trials, key = _threads(settings, info, rule, tuning, measured=not on_gpu)
    load = wire.Load(
        # Not resolved: the parts of a split model find each other by their names, which links may give them.
        model_path=str(settings.model_path.absolute()),
        chat_template=info.chat_template,
        context_length=fit.context_length,
        cache_tokens=fit.cache_tokens,
        micro_batch_tokens=fit.micro_batch_tokens,
        flash_attention=flash_attention,
        slots=settings.slots,
        queue_limit=settings.queue_limit,
        threads=threads.single,
        gpu_layers=settings.gpu_layers,
        window_tokens=settings.window_tokens,
        flush_ms=settings.flush_ms,
        share_prefixes=settings.share_prefixes,
        batch_threads=threads.batch,
        try_threads=trials,
        placement=placement,
        swap_bytes=swap_bytes,
        # On a CPU, to pass over a cell once costs more than to copy it (`node/engine/worker/swap.py`).
        kept_tokens=0 if swap_bytes and not on_gpu else KEPT_FOR_TOKENS,
    )
    return Prepared(gguf=info, fit=fit, load=load, tuning_key=key)


def swap_limit(fit: Fit, available_bytes: int, *, on_gpu: bool) -> int:
    """Main memory for kept sequences: as much as the cache has itself, where that is a small part of what is left.

    Args:
        fit: What the model takes.
        available_bytes: Main memory there was before it is loaded.
        on_gpu: Whether it takes a GPU's memory instead.
    """
    left_bytes = available_bytes - (0 if on_gpu else fit.needed_bytes)
    return max(0, min(fit.cache_bytes, left_bytes // _SWAP_SHARE))


def _threads(
    settings: LoadSettings, info: GgufInfo, rule: int, tuning: TuningCache | None, *, measured: bool
) -> tuple[Threads, tuple[int, ...], str]:
    """Threads to begin with, numbers to try instead, and where the outcome is remembered."""
    if settings.threads is not None:
        return Threads(settings.threads, settings.threads), (), ""
    if not measured or tuning is None:
        return Threads(rule, rule), (), ""
    key = tuning_key(info, build=llama_version(), slots=settings.slots)
    if (known := tuning.get(key)) is not None:
        return known, (), key
    trials = (rule, *(count for count in candidates(info.tensor_bytes) if count != rule))
    return Threads(rule, rule), trials if len(trials) > 1 else (), key
