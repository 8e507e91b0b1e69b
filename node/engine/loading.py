"""Decides how a model is loaded, by looking at its file and at the memory before llama.cpp does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.engine import ipc
from node.engine.options import EngineOptions, StreamLimits
from node.engine.threads import Threads, default_threads
from node.engine.tuning import TuningCache, candidates, tuning_key
from node.engine.worker.cache import EVICT_AFTER_TOKENS
from node.hardware.backend import installed_backend, llama_version
from node.models.fit import Fit, available_memory_bytes, plan
from node.models.gguf import GgufInfo, inspect
from node.models.model_error import ModelError

MAX_LAYERS = 512
"""llama.cpp's own bound (`LLAMA_MAX_LAYERS`): it aborts above it, as it does without any."""
SWAP_SHARE = 0.25
"""Kept sequences take at most a quarter of the memory that is left beside the model."""
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class HostMachine:
    """What a plan depends on beside the model and the options."""

    available_memory_bytes: Callable[[], int] = available_memory_bytes
    backend: Callable[[], str] = installed_backend
    """What the installed llama.cpp computes on."""
    thread_candidates: Callable[[int], tuple[int, ...]] = candidates
    """Numbers of threads worth trying, by the bytes of the weights."""
    swap_share: float = SWAP_SHARE
    """The part of the memory left beside the model that kept sequences may take."""


THIS_MACHINE = HostMachine()


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was looked at and fits."""

    gguf: GgufInfo
    fit: Fit
    load: ipc.Load
    tuning_key: str
    """Under which the threads that are measured are remembered; empty if they are not measured."""


def prepare(
    model_path: Path,
    options: EngineOptions,
    limits: StreamLimits,
    tuning: TuningCache | None = None,
    *,
    machine: HostMachine = THIS_MACHINE,
) -> Prepared:
    """Inspect the file and plan its memory and threads; blocks while it reads the header.

    Args:
        model_path: The GGUF file; of a split model the first part.
        options: What was chosen.
        limits: How requests wait and text is delivered.
        tuning: Where measured numbers of threads are remembered; without it none are measured.
        machine: What the plan is made for.

    Raises:
        ModelError: With code ``model_unusable`` or ``model_too_big``.
    """
    info = inspect(model_path)
    if not 0 < info.layers <= MAX_LAYERS:
        raise ModelError(
            f"{info.name} claims {info.layers} layers, and can have 1 to {MAX_LAYERS}.", fix="Choose another model."
        )
    if not options.suits((info.key_length, info.value_length)):
        raise ModelError(
            f"{info.name} can't have a {options.kv_type} cache: its heads are not whole blocks of 32 values.",
            code="model_unusable",
            fix="Use an f16 cache.",
        )
    on_gpu = options.gpu_layers != 0 and machine.backend() != "cpu"
    fit = plan(
        info,
        # What a GPU takes off the main memory is known to llama.cpp only: it refuses what doesn't fit.
        available_bytes=_NO_LIMIT if on_gpu else machine.available_memory_bytes(),
        slots=options.slots,
        context_length=options.context_length,
        on_gpu=on_gpu,
        kv_share=options.kv_share,
        flash_attention=options.uses_flash_attention(on_gpu=on_gpu),
    )
    swap_bytes = swap_limit(fit, machine.available_memory_bytes(), on_gpu=on_gpu, share=machine.swap_share)
    threads, trials, key = _threads(options, info, tuning, machine, measured=not on_gpu)
    load = ipc.Load(
        # Not resolved: the parts of a split model find each other by their names, which links may give them.
        model_path=os.fsencode(model_path.absolute()),
        chat_template=info.chat_template,
        options=options,
        limits=limits,
        fit=fit,
        threads=threads,
        try_threads=trials,
        swap_bytes=swap_bytes,
        # On a CPU, to pass over a cell once costs more than to copy it (`node/engine/worker/swap.py`).
        evict_after_tokens=0 if swap_bytes and not on_gpu else EVICT_AFTER_TOKENS,
    )
    return Prepared(gguf=info, fit=fit, load=load, tuning_key=key)


def swap_limit(fit: Fit, available_bytes: int, *, on_gpu: bool, share: float = SWAP_SHARE) -> int:
    """Bytes of main memory for kept sequences: as many as the cache has, where that is a small part of what is left.

    Args:
        fit: What the model takes.
        available_bytes: Main memory there was before it is loaded.
        on_gpu: Whether it takes a GPU's memory instead.
        share: The part of what is left that they may take.
    """
    left_bytes = available_bytes - (0 if on_gpu else fit.needed_bytes)
    return max(0, min(fit.cache_bytes, int(left_bytes * share)))


def _threads(
    options: EngineOptions, info: GgufInfo, tuning: TuningCache | None, machine: HostMachine, *, measured: bool
) -> tuple[Threads, tuple[int, ...], str]:
    """Threads to begin with, numbers to try instead, and where the outcome is remembered."""
    if options.threads is not None:
        return Threads(options.threads, options.threads), (), ""
    rule = default_threads(info.tensor_bytes)
    if not measured or tuning is None:
        return Threads(rule, rule), (), ""
    key = tuning_key(info, build=llama_version(), slots=options.slots)
    if (known := tuning.get(key)) is not None:
        return known, (), key
    trials = (rule, *(count for count in machine.thread_candidates(info.tensor_bytes) if count != rule))
    return Threads(rule, rule), trials if len(trials) > 1 else (), key
