"""What servers say about themselves, read and bounded; pure.

Where each is documented: llama-server, tools/server/README.md of llama.cpp; vLLM, "OpenAI-Compatible Server" and its
``/tokenize``; Ollama, docs/api.md; TGI, ``/info`` of its OpenAPI page; llama_cpp.server, ``/extras/tokenize/count``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from node.engine.upstream.chunks import count_of, read_json
from node.engine.upstream.dialect import MAX_NAME_CHARS, Dialect
from node.engine.upstream.refusals import broken
from node.values.text import plain

MAX_MODELS: Final = 1_000
MAX_CONTEXT: Final = 1 << 24
MAX_UPSTREAM_SLOTS: Final = 4_096


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a server reported about itself; ``None`` where it does not."""

    dialect: Dialect
    models: tuple[str, ...]
    version: str = ""
    context_length: int | None = None
    slots: int | None = None


class _Generation(msgspec.Struct):
    n_ctx: int | None = None


class Props(msgspec.Struct):
    """llama-server's ``/props``."""

    default_generation_settings: _Generation
    total_slots: int | None = None
    build_info: str = ""


class Version(msgspec.Struct):
    """vLLM's ``/version`` and Ollama's ``/api/version``."""

    version: str


class TgiInfo(msgspec.Struct):
    """TGI's ``/info``."""

    model_id: str
    max_total_tokens: int | None = None
    max_concurrent_requests: int | None = None
    version: str = ""


class _OllamaModel(msgspec.Struct):
    name: str = ""
    model: str = ""
    context_length: int | None = None


class _LmStudioModel(msgspec.Struct):
    id: str
    state: str
    loaded_context_length: int | None = None


class LmStudioModels(msgspec.Struct):
    """LM Studio's ``/api/v0/models``: with the context that each was loaded with."""

    data: list[_LmStudioModel]

    def context_of(self, model: str) -> int | None:
        """The context of this model, if it is loaded."""
        return next((one.loaded_context_length for one in self.data if one.id == model), None)


class OllamaRunning(msgspec.Struct):
    """Ollama's ``/api/ps``: what is loaded, with the context it was loaded with."""

    models: list[_OllamaModel] = []

    def context_of(self, model: str) -> int | None:
        """The context of this model, if it is loaded and its server reports it."""
        for one in self.models:
            if model in {one.name, one.model, one.name.removesuffix(":latest")}:
                return one.context_length
        return None


class CountReply(msgspec.Struct):
    """vLLM's ``/tokenize`` and llama_cpp.server's ``/extras/tokenize/count``."""

    count: int


class Templated(msgspec.Struct):
    """llama-server's ``/apply-template``."""

    prompt: str


class Tokenized(msgspec.Struct):
    """llama-server's ``/tokenize``."""

    tokens: list[Any]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The names that an upstream serves, and the contexts that it reports with them."""

    names: tuple[str, ...]
    contexts: dict[str, int]


def read_models(body: bytes) -> ModelList:
    """Read ``/v1/models``: OpenAI's ``data``, Ollama's ``models``, or Together's bare list.

    An entry that can't be read costs that entry. Ollama without any model lists ``null``.

    Raises:
        UpstreamError: If it is none.
    """
    listed = read_json(body, "no list of models")
    if isinstance(listed, dict):
        names = [name for name in ("data", "models") if name in listed]
        if not names:
            raise broken("no list of models")
        listed = next((listed[name] for name in names if listed[name]), [])
    if not isinstance(listed, list):
        raise broken("no list of models")
    models = [(name, one) for one in listed[:MAX_MODELS] if (name := _model_name(one))]
    contexts = {name: context for name, one in models if isinstance(one, dict) and (context := _context(one))}
    return ModelList(names=tuple(name for name, _ in models), contexts=contexts)


def _model_name(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("id", "name", "model") if entry.get(key)), "")
    return entry if isinstance(entry, str) else ""


def _context(entry: dict[str, Any]) -> int | None:
    """The context that vLLM (``max_model_len``) or LM Studio's own list (``loaded_context_length``) names."""
    stated = (count_of(entry.get(key)) for key in ("max_model_len", "loaded_context_length"))
    return next((length for one in stated if (length := bounded(one, MAX_CONTEXT))), None)


def bounded(value: int | None, most: int) -> int | None:
    """A positive number within reason, or none."""
    return value if value is not None and 0 < value <= most else None


def shown_names(names: tuple[str, ...]) -> str:
    """Model names for a person, harmless and few."""
    few = ", ".join(plain(name, MAX_NAME_CHARS) for name in names[:12]) or "none"
    return few + (f" and {len(names) - 12} more" if len(names) > 12 else "")
