"""Makes a second context for a loaded model, if there is memory for it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.threads import Threads
from node.engine.worker.native import llama
from node.engine.worker.vocabulary import Vocabulary
from node.models.gguf import GgufInfo, inspect
from node.models.model_error import ModelError
from node.models.work_space import ContextShape, cache_bytes, work_bytes


class Weights(Protocol):
    """What this module needs of a loaded model."""

    @property
    def model(self) -> int:
        """llama.cpp's pointer to it."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """Its vocabulary."""
        ...

    @property
    def threads(self) -> Threads:
        """How many it computes with."""
        ...

    @property
    def backend(self) -> str:
        """What llama.cpp computes on."""
        ...


class NewContext(Protocol):
    """`make_context` for what is loaded."""

    def __call__(self, shape: ContextShape, pooling: int | None = None, /) -> int:
        """A context of this shape."""
        ...


def make_context(
    weights: Weights,
    config: ipc.Load,
    available_memory_bytes: Callable[[], int],
    shape: ContextShape,
    pooling: int | None = None,
) -> int:
    """A context beside the one of the streams; the caller frees it.

    Args:
        weights: What is loaded.
        config: How it was loaded.
        available_memory_bytes: Tells the main memory that it may take.
        shape: What the context must hold.
        pooling: How it makes vectors, one of llama.cpp's `LLAMA_POOLING_TYPE`; None for one that scores.

    Raises:
        EngineError: With code ``engine_busy`` if there is not enough memory for it.
    """
    _check_memory(weights, config, shape, available_memory_bytes())
    params = llama.llama_context_default_params()
    params.n_ctx = shape.cells
    # What is pooled must be computed at once; what is scored comes in pieces.
    params.n_batch = params.n_ubatch = shape.micro_batch_tokens
    params.n_seq_max = shape.sequences
    params.n_outputs_max = shape.outputs
    params.n_threads, params.n_threads_batch = weights.threads.single, weights.threads.batch
    params.kv_unified = True
    on, off = llama.LLAMA_FLASH_ATTN_TYPE_AUTO, llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = on if shape.flash_attention else off
    params.no_perf = True
    if pooling is not None:
        params.embeddings = True
        params.pooling_type = pooling
    context: int | None = llama.llama_init_from_model(weights.model, params)
    if not context:
        raise _too_little_memory()
    return context


def _check_memory(weights: Weights, config: ipc.Load, shape: ContextShape, free_bytes: int) -> None:
    """Refuse what main memory has no room for: Linux hands out more than there is, and then ends the whole worker."""
    if config.options.gpu_layers and weights.backend != "cpu":
        return  # llama.cpp knows what a GPU has left, and makes no context then
    info = _info(config.model_path)
    needed_bytes = cache_bytes(info, shape) + work_bytes(info, shape)
    if needed_bytes > free_bytes:
        raise _too_little_memory(f": it takes {needed_bytes >> 20} MiB, and {free_bytes >> 20} MiB are free")


def _too_little_memory(numbers: str = "") -> EngineError:
    return EngineError(
        f"There is not enough memory for this beside what runs{numbers}.",
        code="engine_busy",
        fix="Try again later, or with a shorter text.",
    )


@functools.lru_cache(maxsize=1)
def _info(model_path: bytes) -> GgufInfo:
    """Read once: a large vocabulary takes a tenth of a second, for which every stream waits.

    Raises:
        EngineError: If the file can't be read any more.
    """
    try:
        return inspect(Path(os.fsdecode(model_path)))
    except ModelError as error:
        raise EngineError(error.message, code=error.code, fix=error.fix) from error
