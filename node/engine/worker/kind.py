"""What a loaded model can do: write, or turn texts into vectors; read from its file, whatever its architecture."""

from __future__ import annotations

import ctypes

from node.engine.protocol import EngineError
from node.engine.worker.native import llama
from node.models.gguf import POOLING_TYPES

_VALUE_BYTES = 256


def check_kind(model: int) -> None:
    """Refuse what is neither a language model nor an embedding model.

    Raises:
        EngineError: With code ``model_unusable``.
    """
    why = ""
    if llama.llama_model_has_encoder(model):
        why = "It is an encoder-decoder model (T5 and the like), which is not served."
    elif not llama.llama_model_has_decoder(model):
        why = "It has no decoder: it writes no text."
    elif llama.llama_model_is_diffusion(model):
        why = "It is a diffusion model: it doesn't write from left to right."
    elif _pooling(model) == llama.LLAMA_POOLING_TYPE_RANK:
        why = "It is a reranker: it neither writes text nor embeds it."
    if why:
        raise EngineError(why, code="model_unusable")


def embeds_only(model: int) -> bool:
    """Whether its file says that it was made for vectors: how to pool its tokens, or that it sees both directions."""
    return (
        _pooling(model) in POOLING_TYPES
        or metadata(model, f"{metadata(model, 'general.architecture')}.attention.causal") == "false"
    )


def metadata(model: int, key: str) -> str | None:
    """A value of the model file, as text of at most 255 bytes."""
    buffer = ctypes.create_string_buffer(_VALUE_BYTES)
    length = llama.llama_model_meta_val_str(model, key.encode(), buffer, _VALUE_BYTES)
    return None if length < 0 else buffer.value.decode("utf-8", "replace")


def _pooling(model: int) -> int | None:
    value = metadata(model, f"{metadata(model, 'general.architecture')}.pooling_type")
    return int(value) if value is not None and value.isdigit() else None
