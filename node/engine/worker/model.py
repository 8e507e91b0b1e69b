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
            self._config = config
            self.partial = can_share(self.model)
            self.sequences = min(llama.llama_max_parallel_sequences(), config.slots * (2 if self.partial else 1))
            self.context = _make_context(self.model, config, self.sequences)
        except EngineError:
            llama.llama_model_free(self.model)
            raise
        self.memory: Any = llama.llama_get_memory(self.context)

    def renew(self) -> None:
        """Replace the context, after an error that leaves it in no known state.

        Raises:
            SystemExit: If there is no memory for it any more: a new worker may find some.
        """
        llama.llama_free(self.context)
        self.context = 0
        try:
            self.context = _make_context(self.model, self._config, self.sequences)
        except EngineError as error:
            raise SystemExit(f"The context could not be made again: {error.message}") from error
        self.memory = llama.llama_get_memory(self.context)

    def forget(self, sequence: int) -> None:
        """Drop what the cache holds for a sequence."""
        llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def share(self, source: int, sequence: int, length: int) -> None:
        """Let a sequence begin with the first `length` cells of another one."""
        llama.llama_memory_seq_cp(self.memory, source, sequence, 0, length)

    def forget_all(self) -> None:
        """Empty the cache."""
        llama.llama_memory_clear(self.memory, False)

    def close(self) -> None:
        """Free everything."""
        if self.context:
            llama.llama_free(self.context)
        llama.llama_model_free(self.model)
        llama.llama_backend_free()


def can_share(model: int) -> bool:
    """Whether sequences of this model can share a part of their cells.

    A recurrent state stands for all tokens before it, and a sliding window has lost those that left it.
    """
    recurrent = llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model)
    return not recurrent and not llama.llama_model_n_swa(model)


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


def _make_context(model: int, config: Load, sequences: int) -> int:
    params = llama.llama_context_default_params()
    params.n_ctx = config.cache_tokens
    params.n_batch = BATCH_TOKENS
    params.n_ubatch = config.micro_batch_tokens
    params.n_seq_max = sequences
    params.n_outputs_max = sequences
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
