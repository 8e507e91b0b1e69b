"""Decides how a model is loaded, by looking at its file and at the memory before llama.cpp does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from node.engine import frames as wire
from node.engine.backend import default_threads, installed_backend
from node.models.fit import Fit, available_memory_bytes, plan
from node.models.gguf import GgufInfo, inspect

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


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was looked at and fits."""

    gguf: GgufInfo
    fit: Fit
    load: wire.Load


def prepare(settings: LoadSettings) -> Prepared:
    """Inspect the file and plan its memory; blocks while it reads the header.

    Raises:
        ModelError: With code ``model_unusable`` or ``model_too_big``.
    """
    info = inspect(settings.model_path)
    on_gpu = settings.gpu_layers != 0 and installed_backend() != "cpu"
    # What a GPU takes off the main memory is known to llama.cpp only: it refuses what doesn't fit.
    fit = plan(
        info,
        available_bytes=_NO_LIMIT if on_gpu else available_memory_bytes(),
        slots=settings.slots,
        context_length=settings.context_length,
        on_gpu=on_gpu,
    )
    load = wire.Load(
        # Not resolved: the parts of a split model find each other by their names, which links may give them.
        model_path=str(settings.model_path.absolute()),
        chat_template=info.chat_template,
        context_length=fit.context_length,
        cache_tokens=fit.cache_tokens,
        micro_batch_tokens=fit.micro_batch_tokens,
        flash_attention=fit.flash_attention,
        slots=settings.slots,
        queue_limit=settings.queue_limit,
        threads=settings.threads or default_threads(info.tensor_bytes),
        gpu_layers=settings.gpu_layers,
        window_tokens=settings.window_tokens,
        flush_ms=settings.flush_ms,
    )
    return Prepared(gguf=info, fit=fit, load=load)
