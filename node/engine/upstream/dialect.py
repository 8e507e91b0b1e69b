"""The servers that speak OpenAI's API each in its own way: how to ask them; pure.

Where each is documented: llama-server, tools/server/README.md of llama.cpp; vLLM, "OpenAI-Compatible Server" and
"Structured Outputs"; Ollama, docs/openai.md; TGI, "Guidance"; llama_cpp.server, its ``/docs``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from node.engine.protocol import EngineError, GenerateRequest
from node.values.inference import ChatMessage, JsonObject, JsonSchema, ResponseFormat, TemplateOptions
from node.values.models import Ability

DOMAIN: Final = b"idlewatt upstream model v1\x00"
"""Put before the name, so that the id of a model behind an upstream is never the SHA-256 of a file."""
MAX_NAME_CHARS: Final = 96
_ANY_OBJECT: Final = {"type": "object"}

Fields = Mapping[str, Any]
NO_FIELDS: Final[Fields] = MappingProxyType({})

FormatWay = Literal["openai", "schema", "value", "grammar"]
"""How a server is given the format of an answer: in OpenAI's own ways; the same, where any object is a schema like
another; as TGI's ``value``; or as a grammar in llama.cpp's notation, made here, since llama.cpp's servers pass over
what their own converters don't know."""


TemplateWay = Literal["names", "effort", "none"]
"""How a server is told the options of a chat template: by ``chat_template_kwargs``; only ``reasoning_effort``, as in
OpenAI's API; or not at all."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of server needs to be asked, and can't do."""

    name: str
    parameters: dict[str, str]
    """Our sampling parameters beyond OpenAI's, by the name that this server reads."""
    one_at_a_time: bool = False
    """Whether a second request, of any kind, breaks the one that runs."""
    format_way: FormatWay = "schema"
    ids_as_tokens: bool = False
    """Whether log-probabilities name their tokens by ids only when asked to write them in the tokens' place; the
    alternatives then lose their bytes, so none are asked for."""
    drops_prompts: bool = False
    """Whether it may drop a part of a prompt that is too long, and say nothing."""
    loads_late: bool = False
    """Whether it loads a model when it is first asked for it, and tells only then with which context."""
    context_fix: str = "Give it a longer context, or set context_length to less."
    """What its owner can do about a context that is too short."""
    template_way: TemplateWay = "effort"
    cuts_embedded: bool = False
    """Whether it embeds the beginning of a text that is too long, and says nothing."""


PLAIN: Final = Dialect(name="openai", parameters={}, format_way="openai", drops_prompts=True)
LLAMA_SERVER: Final = Dialect(
    name="llama-server",
    parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    format_way="grammar",
    template_way="names",
)
VLLM: Final = Dialect(
    name="vllm",
    parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    ids_as_tokens=True,
    template_way="names",
)
LLAMA_CPP_PYTHON: Final = Dialect(
    name="llama-cpp-python",
    parameters={"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    # By default a new request ends the stream under way; even the list of models waits for the same lock.
    one_at_a_time=True,
    format_way="grammar",
    template_way="none",
    cuts_embedded=True,
)
OLLAMA: Final = Dialect(
    name="ollama",
    parameters={},
    # Of a prompt beyond num_ctx it keeps about half of num_ctx, or drops the oldest messages.
    drops_prompts=True,
    loads_late=True,
    context_fix="Start Ollama with OLLAMA_CONTEXT_LENGTH set to what you want to offer, or give the model a num_ctx.",
)
LM_STUDIO: Final = Dialect(
    name="lm-studio",
    parameters={"top_k": "top_k", "repeat_penalty": "repeat_penalty"},
    template_way="none",
    # By default it drops the middle of what is too long.
    drops_prompts=True,
    loads_late=True,
    context_fix="Load the model with a longer context in LM Studio.",
)
TGI: Final = Dialect(name="tgi", parameters={}, format_way="value", template_way="none")


def model_id(name: str) -> str:
    """The id of a model that can't be hashed: SHA-256 over a domain and the name, as hex.

    It is a name and no proof: every server of that name has the same id, so such a model can't be audited by it.
    """
    return hashlib.sha256(DOMAIN + name.encode()).hexdigest()


def chat_body(dialect: Dialect, model: str, request: GenerateRequest, seed: int, grammar: str = "") -> dict[str, Any]:
    """The request as this server reads it, streamed, with its usage at the end.

    Args:
        dialect: The server's.
        model: The model's name there.
        request: What to ask.
        seed: The seed that is used.
        grammar: The request's format in llama.cpp's notation, for servers that take it.

    Raises:
        EngineError: With code ``bad_request`` if a schema is no JSON.
    """
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
    if request.logprobs is not None:
        body |= _logprobs(dialect, request.logprobs)
    if request.response_format is not None:
        body |= _format(dialect, request.response_format, grammar)
    return body | template_fields(dialect, request.template_options)


def abilities(dialect: Dialect) -> tuple[Ability, ...]:
    """What can be asked of a model behind this server; whether its template reads an option, only the server knows."""
    options: dict[TemplateWay, tuple[Ability, ...]] = {
        "names": ("enable_thinking", "reasoning_effort"),
        "effort": ("reasoning_effort",),
        "none": (),
    }
    return ("chat", "turns", "system", *options[dialect.template_way])


def template_fields(dialect: Dialect, options: TemplateOptions) -> dict[str, Any]:
    """The fields of a request that tell a server the options of the chat template.

    Args:
        dialect: The server's.
        options: What was asked for.

    Raises:
        EngineError: With code ``bad_request`` for an option that it can't be told.
    """
    wanted: dict[str, Any] = msgspec.to_builtins(options)
    for name in wanted:
        if name not in abilities(dialect):
            raise EngineError(
                f"This provider's server can't be told {name}.",
                code="bad_request",
                fix="Leave it out, or choose an offer that names it.",
            )
    return {"chat_template_kwargs": wanted} if wanted and dialect.template_way == "names" else wanted


def _logprobs(dialect: Dialect, tops: int) -> dict[str, Any]:
    if dialect.ids_as_tokens:
        return {"logprobs": True, "top_logprobs": 0, "return_tokens_as_token_ids": True}
    # llama-server reports nothing at all when it is asked for no alternative.
    return {"logprobs": True, "top_logprobs": max(1, tops)}


def _format(dialect: Dialect, wanted: ResponseFormat, grammar: str) -> dict[str, Any]:
    if dialect.format_way == "grammar":
        return {"grammar": grammar}
    if dialect.format_way == "openai" and isinstance(wanted, JsonObject):
        return {"response_format": {"type": "json_object"}}
    schema = _schema(wanted)
    if dialect.format_way == "value":
        return {"response_format": {"type": "json", "value": schema}}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _schema(wanted: ResponseFormat) -> Any:
    if not isinstance(wanted, JsonSchema):
        return _ANY_OBJECT
    try:
        return msgspec.json.decode(wanted.schema)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise EngineError("The JSON schema is no JSON.", code="bad_request", fix="Change the schema.") from None


def embedding_body(model: str, text: str) -> dict[str, Any]:
    """One text for ``/v1/embeddings``: asked alone, its tokens are reported alone."""
    return {"model": model, "input": text, "encoding_format": "float"}


def text_count_body(text: str) -> dict[str, Any]:
    """llama_cpp.server's ``/extras/tokenize/count``."""
    return {"input": text}


def one_token_body(model: str, messages: tuple[ChatMessage, ...], fields: Fields = NO_FIELDS) -> dict[str, Any]:
    """A request whose usage reports the prompt's length, for servers that can't be asked for it."""
    return {"model": model, "messages": _messages(messages), "max_tokens": 1, "stream": False, **fields}


def vllm_count_body(model: str, messages: tuple[ChatMessage, ...], fields: Fields = NO_FIELDS) -> dict[str, Any]:
    """VLLM's ``/tokenize`` applies the chat template itself."""
    return {"model": model, "messages": _messages(messages), "add_generation_prompt": True, **fields}


def template_body(messages: tuple[ChatMessage, ...], fields: Fields = NO_FIELDS) -> dict[str, Any]:
    """llama-server's ``/apply-template``."""
    return {"messages": _messages(messages), **fields}


def tokenize_body(prompt: str) -> dict[str, Any]:
    """llama-server's ``/tokenize``, as it tokenizes a chat itself."""
    return {"content": prompt, "add_special": True, "parse_special": True}


def _messages(messages: tuple[ChatMessage, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
