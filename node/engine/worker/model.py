"""Loads a model and makes one context for it, through llama-cpp-python's low-level API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.engine.backend import backend_of
from node.engine.frames import Load
from node.engine.protocol import EngineError
from node.engine.worker.native import build, llama, quiet_log
from node.engine.worker.scheduler import BATCH_TOKENS
from node.engine.worker.vocabulary import Vocabulary


class LoadedModel:
    """A model, its vocabulary, and a context with a key-value cache that all sequences share.

    Args:
        config: What to load.
        on_progress: Called with 0 … 1 while the file is read; returns whether to go on.

    Raises:
        EngineError: With code ``model_unusable`` or ``model_too_big``.
    """

    def __init__(self, config: Load, on_progress: Callable[[float], bool]) -> None:
        quiet_log()
        llama.llama_backend_init()
        self.backend = backend_of(llama.llama_print_system_info().decode("utf-8", "replace"))
        self.build = build()
        self.model = _load(config, on_progress)
        try:
            self.vocabulary = Vocabulary(self.model)
            self.context = _make_context(self.model, config)
        except EngineError:
            llama.llama_model_free(self.model)
            raise
        self.memory: Any = llama.llama_get_memory(self.context)

    def forget(self, slot: int) -> None:
        """Drop what the cache holds for a sequence."""
        llama.llama_memory_seq_rm(self.memory, slot, -1, -1)

    def forget_all(self) -> None:
        """Empty the cache, so that the next request meets the same cells as the very first one did."""
        llama.llama_memory_clear(self.memory, False)

    def close(self) -> None:
        """Free everything."""
        llama.llama_free(self.context)
        llama.llama_model_free(self.model)
        llama.llama_backend_free()


def _load(config: Load, on_progress: Callable[[float], bool]) -> int:
    params = llama.llama_model_default_params()
    params.n_gpu_layers = config.gpu_layers
    # Kernels for AMX, as GCC 12 compiles them, crash on the first prompt of a quantized model (llama.cpp issue 20824).
    params.use_extra_bufts = b"AMX_INT8 = 1" not in llama.llama_print_system_info()
    callback = llama.llama_progress_callback(lambda progress, _data: on_progress(progress))
    params.progress_callback = callback
    path = Path(config.model_path)
    model: int | None = llama.llama_model_load_from_file(str(path).encode(), params)
    if model is None:
        raise EngineError("llama.cpp can't load this model file.", code="model_unusable")
    if llama.llama_model_has_encoder(model) or not llama.llama_model_has_decoder(model):
        llama.llama_model_free(model)
        raise EngineError("This model doesn't write text: it is no chat model.", code="model_unusable")
    return model


def _make_context(model: int, config: Load) -> int:
    params = llama.llama_context_default_params()
    params.n_ctx = config.cache_tokens
    params.n_batch = BATCH_TOKENS
    params.n_ubatch = config.micro_batch_tokens
    params.n_seq_max = config.slots
    params.n_outputs_max = config.slots
    params.n_threads = params.n_threads_batch = config.threads
    # One cache for all sequences keeps them in one micro-batch. On a CPU, flash attention is up to three times slower.
    params.kv_unified = True
    on, off = llama.LLAMA_FLASH_ATTN_TYPE_AUTO, llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = on if config.flash_attention else off
    params.no_perf = True
    context: int | None = llama.llama_init_from_model(model, params)
    if context is None:
        raise EngineError("There is not enough memory for this model's context.", code="model_too_big")
    return context
