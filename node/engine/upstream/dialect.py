"""The servers that speak OpenAI's API each in its own way: how to ask them, and what they tell of themselves; pure.

Where each is documented: llama-server, tools/server/README.md of llama.cpp; vLLM, "OpenAI-Compatible Server" and its
``/tokenize``; Ollama, docs/api.md; TGI, ``/info`` of its OpenAPI page; llama_cpp.server, ``/extras/tokenize/count``.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from node.engine.protocol import ChatMessage, EngineError, GenerateRequest
from node.engine.upstream.errors import broken
from node.wire.text import plain

DOMAIN: Final = b"idlewatt upstream model v1\x00"
"""Before the name, so that what stands for a model behind an upstream is never the SHA-256 of a file."""
MAX_MODELS: Final = 1_000
MAX_NAME_CHARS: Final = 96
MAX_CONTEXT: Final = 1 << 24
MAX_UPSTREAM_SLOTS: Final = 4_096


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of server needs to be asked, and can't do."""

    name: str
    parameters: dict[str, str]
    """Our sampling parameters beyond OpenAI's, by the name that this server reads."""
    one_at_a_time: bool = False
    """Whether a second request, of any kind, breaks the one that runs."""


PLAIN: Final = Dialect(name="openai", parameters={})
LLAMA_SERVER: Final = Dialect(
    name="llama-server", parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"}
)
VLLM: Final = Dialect(
    name="vllm", parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}
)
LLAMA_CPP_PYTHON: Final = Dialect(
    name="llama-cpp-python",
    parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    # By default a new request ends the stream under way; even the list of models waits for the same lock.
    one_at_a_time=True,
)
OLLAMA: Final = Dialect(name="ollama", parameters={})
TGI: Final = Dialect(name="tgi", parameters={})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server told about itself; ``None`` where it keeps silent."""

    dialect: Dialect
    models: tuple[str, ...]
    version: str = ""
    context_length: int | None = None
    slots: int | None = None


def model_id(name: str) -> str:
    """What stands for a model that can't be hashed: SHA-256 over a domain and the name, as hex.

    It names and does not prove: whoever serves that name has the same one, so such a model can't be audited by it.
    """
    return hashlib.sha256(DOMAIN + name.encode()).hexdigest()


def not_here(what: str) -> EngineError:
    """The refusal of something that an upstream can't be held to."""
    return EngineError(
        f"This provider stands before another server, and can't promise {what}.",
        code="bad_request",
        fix="Leave it out, or choose a provider with the model's file.",
    )


def check_supported(request: GenerateRequest) -> None:
    """Refuse what servers differ in or pass over in silence: a buyer pays for what was asked.

    Raises:
        EngineError: With code ``bad_request``, naming the first of them.
    """
    if request.response_format is not None:
        raise not_here("answers in a format")
    if request.logprobs is not None:
        raise not_here("log-probabilities")
    if request.sampling.logit_bias:
        raise not_here("a bias on tokens")
    if request.sampling.typical_p != 1.0:
        raise not_here("typical_p")


def chat_body(dialect: Dialect, model: str, request: GenerateRequest, seed: int) -> dict[str, Any]:
    """The request as this server reads it, streamed, with its usage at the end."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(request.messages),
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": seed,
    }
    if request.stop:
        body["stop"] = list(request.stop)
    for ours, theirs in dialect.parameters.items():
        body[theirs] = getattr(sampling, ours)
    if dialect is VLLM:
        body["top_k"] = sampling.top_k if sampling.top_k > 0 else -1
        body["stream_options"]["continuous_usage_stats"] = True
    elif dialect is LLAMA_SERVER:
        body["timings_per_token"] = True
    elif dialect is TGI and body["top_p"] >= 1.0:
        del body["top_p"]  # it takes what is below 1 only
    return body


def one_token_body(model: str, messages: tuple[ChatMessage, ...]) -> dict[str, Any]:
    """A request whose usage tells the prompt's length, for servers that can't be asked for it."""
    return {"model": model, "messages": _messages(messages), "max_tokens": 1, "stream": False}


def vllm_count_body(model: str, messages: tuple[ChatMessage, ...]) -> dict[str, Any]:
    """VLLM's ``/tokenize`` applies the chat template itself."""
    return {"model": model, "messages": _messages(messages), "add_generation_prompt": True}


def template_body(messages: tuple[ChatMessage, ...]) -> dict[str, Any]:
    """llama-server's ``/apply-template``."""
    return {"messages": _messages(messages)}


def tokenize_body(prompt: str) -> dict[str, Any]:
    """llama-server's ``/tokenize``, as it tokenizes a chat itself."""
    return {"content": prompt, "add_special": True, "parse_special": True}


def _messages(messages: tuple[ChatMessage, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


# What servers answer


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


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


class OllamaRunning(msgspec.Struct):
    """Ollama's ``/api/ps``: what is loaded, with the context it was loaded with."""

    models: list[_OllamaModel] = []

    def context_of(self, model: str) -> int | None:
        """The context of this model, if it is loaded and its server tells."""
        for one in self.models:
            if model in {one.name, one.model, one.name.removesuffix(":latest")}:
                return one.context_length
        return None


class Counted(msgspec.Struct):
    """vLLM's ``/tokenize`` and llama_cpp.server's ``/extras/tokenize/count``."""

    count: int


class Templated(msgspec.Struct):
    """llama-server's ``/apply-template``."""

    prompt: str


class Tokenized(msgspec.Struct):
    """llama-server's ``/tokenize``."""

    tokens: list[Any]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The names that an upstream serves, and the contexts that it tells with them."""

    names: tuple[str, ...]
    contexts: dict[str, int]


def read_models(body: bytes) -> ModelList:
    """Read ``/v1/models``.

    Raises:
        UpstreamError: If it is none.
    """
    try:
        listed = msgspec.json.decode(body, type=_Models).data[:MAX_MODELS]
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise broken("no list of models") from None
    return ModelList(
        names=tuple(one.id for one in listed),
        contexts={one.id: length for one in listed if (length := bounded(one.max_model_len, MAX_CONTEXT))},
    )


def bounded(value: int | None, most: int) -> int | None:
    """A positive number within reason, or none."""
    return value if value is not None and 0 < value <= most else None


def shown_names(names: tuple[str, ...]) -> str:
    """Model names for a person, harmless and few."""
    few = ", ".join(plain(name, MAX_NAME_CHARS) for name in names[:12]) or "none"
    return few + (f" and {len(names) - 12} more" if len(names) > 12 else "")
