"""Loads a model and makes one context for it, through llama-cpp-python's low-level API."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from node.engine.ipc import Load
from node.engine.options import EngineOptions, KvType, SplitMode
from node.engine.protocol import EngineError
from node.engine.reason import context_error, load_error
from node.engine.threads import Threads
from node.engine.worker.kind import check_kind, embeds_only
from node.engine.worker.native import build, forget_errors, llama, logged_errors, quiet_log
from node.engine.worker.scheduler import BATCH_TOKENS
from node.engine.worker.swap import SavedState
from node.engine.worker.vocabulary import Vocabulary
from node.hardware.backend import backend_of

_KV_TYPES: dict[KvType, int] = {
    "f16": llama.GGML_TYPE_F16,
    "q8_0": llama.GGML_TYPE_Q8_0,
    "q4_0": llama.GGML_TYPE_Q4_0,
}
_SPLIT_MODES: dict[SplitMode, int] = {
    "layer": llama.LLAMA_SPLIT_MODE_LAYER,
    "row": llama.LLAMA_SPLIT_MODE_ROW,
    "none": llama.LLAMA_SPLIT_MODE_NONE,
}


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
            self.threads = config.threads
            self.partial = can_share(self.model)
            self.sequences = min(
                llama.llama_max_parallel_sequences(), config.options.slots * (2 if self.partial else 1)
            )
            self.chats = not embeds_only(self.model)
            """False for an embedding model, which has no context until it is asked for vectors."""
            self.context = _make_context(self.model, config, self.sequences) if self.chats else 0
        except EngineError:
            llama.llama_model_free(self.model)
            raise
        self.memory: Any = llama.llama_get_memory(self.context) if self.context else None

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
        self.use_threads(self.threads)

    def use_threads(self, threads: Threads) -> None:
        """Compute with so many threads from now on."""
        self.threads = threads
        llama.llama_set_n_threads(self.context, threads.single, threads.batch)

    def forget(self, sequence: int) -> None:
        """Drop what the cache holds for a sequence."""
        llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def share(self, source: int, sequence: int, length: int) -> None:
        """Let a sequence begin with the first `length` cells of another one."""
        llama.llama_memory_seq_cp(self.memory, source, sequence, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Drop all cells of a sequence beyond its first `length`."""
        llama.llama_memory_seq_rm(self.memory, sequence, length, -1)

    def save(self, sequence: int, most_bytes: int) -> mmap.mmap | None:
        """Copy all cells of a sequence, if they have no more bytes than that and there is memory for them."""
        size = llama.llama_state_seq_get_size(self.context, sequence)
        if not 0 < size <= most_bytes:
            return None
        try:
            # Pages of its own: the system has them back the moment it is forgotten.
            state = mmap.mmap(-1, size)
        except OSError:
            return None
        copied = llama.llama_state_seq_get_data(self.context, _first_byte(state), size, sequence)
        return state if copied == size else None

    def restore(self, sequence: int, state: SavedState) -> bool:
        """Give a sequence that has no cells those that were saved; returns whether that could be done."""
        assert isinstance(state, mmap.mmap), "what `save` made"
        read = llama.llama_state_seq_set_data(self.context, _first_byte(state), len(state), sequence)
        if read != len(state):
            self.forget(sequence)
        return bool(read == len(state))

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

    A recurrent state belongs to all tokens before it, and a sliding window has lost those that left it.
    """
    recurrent = llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model)
    return not recurrent and not llama.llama_model_n_swa(model)


def _first_byte(state: mmap.mmap) -> Any:
    return ctypes.pointer(ctypes.c_uint8.from_buffer(state))


def _place(params: Any, options: EngineOptions) -> Any:
    """Say how GPUs share the model; what is returned must outlive the loading."""
    params.split_mode = _SPLIT_MODES[options.split_mode]
    params.main_gpu = options.main_gpu
    most = llama.llama_max_devices()
    gpu_shares = options.gpu_shares
    if not gpu_shares or not llama.llama_supports_gpu_offload():
        return None
    if len(gpu_shares) > most:
        raise EngineError(f"This build of llama.cpp shares a model among {most} GPUs at most.", code="bad_request")
    shares = (ctypes.c_float * most)(*gpu_shares)
    params.tensor_split = shares
    return shares


def _load(config: Load, on_progress: Callable[[float], bool]) -> int:
    params = llama.llama_model_default_params()
    params.n_gpu_layers = config.options.gpu_layers
    shares = _place(params, config.options)
    # Kernels for AMX, as GCC 12 compiles them, crash on the first prompt of a quantized model (llama.cpp issue 20824).
    params.use_extra_bufts = b"AMX_INT8 = 1" not in llama.llama_print_system_info()
    callback = llama.llama_progress_callback(lambda progress, _data: on_progress(progress))
    params.progress_callback = callback
    forget_errors()
    model: int | None = llama.llama_model_load_from_file(config.model_path, params)
    del shares  # llama.cpp has read them
    if model is None:
        raise load_error(logged_errors(), build=build())
    try:
        check_kind(model)
    except EngineError:
        llama.llama_model_free(model)
        raise
    return model


def _make_context(model: int, config: Load, sequences: int) -> int:
    params = llama.llama_context_default_params()
    params.n_ctx = config.fit.cache_tokens
    params.n_batch = BATCH_TOKENS
    params.n_ubatch = config.fit.micro_batch_tokens
    params.n_seq_max = sequences
    params.n_outputs_max = sequences
    params.n_threads, params.n_threads_batch = config.threads.single, config.threads.batch
    # One cache for all sequences keeps them in one micro-batch. On a CPU, flash attention is up to three times slower.
    params.kv_unified = True
    on, off = llama.LLAMA_FLASH_ATTN_TYPE_AUTO, llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = on if config.fit.flash_attention else off
    params.type_k = params.type_v = _KV_TYPES[config.options.kv_type]
    params.no_perf = True
    forget_errors()
    context: int | None = llama.llama_init_from_model(model, params)
    if context is None:
        raise context_error(logged_errors())
    return context
