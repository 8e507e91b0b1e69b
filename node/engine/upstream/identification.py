"""Finds out what kind of server an upstream is, and how it counts a prompt: by asking, each question bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

import msgspec

from node.engine.upstream import answers as a
from node.engine.upstream import dialect as d
from node.engine.upstream.chunks import count_of, usage_of
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.refusals import UpstreamError, broken, refusal
from node.values.inference import ChatMessage
from node.values.text import plain

DETECT_S: Final = 15.0
MAX_VERSION_CHARS: Final = 60

CountWay = Literal["template", "tokenize", "one_token"]
_T = TypeVar("_T")


async def server_info(client: UpstreamClient, model: str) -> a.ServerInfo:
    """What the server reports about itself and this model.

    Raises:
        UpstreamError: If it can't be reached or refuses to list its models.
    """
    listed = a.read_models(await client.models())
    info = await _identify(client, model)
    length = listed.contexts.get(model) or info.context_length
    return msgspec.structs.replace(info, models=listed.names, context_length=length)


async def _identify(client: UpstreamClient, model: str) -> a.ServerInfo:
    props = await _maybe(client.get("/props", a.Props, timeout_s=DETECT_S))
    if props is not None:
        return _server_info(
            d.LLAMA_SERVER,
            version=props.build_info,
            context_length=props.default_generation_settings.n_ctx,
            slots=props.total_slots,
        )
    asked = d.text_count_body("a")
    count = await _maybe(client.post("/extras/tokenize/count", asked, a.CountReply, timeout_s=DETECT_S))
    if count is not None:
        return _server_info(d.LLAMA_CPP_PYTHON)
    version = await _maybe(client.get("/version", a.Version, timeout_s=DETECT_S))
    if version is not None:
        return _server_info(d.VLLM, version=version.version)
    version = await _maybe(client.get("/api/version", a.Version, timeout_s=DETECT_S))
    if version is not None:
        running = await _maybe(client.get("/api/ps", a.OllamaRunning, timeout_s=DETECT_S))
        length = running.context_of(model) if running is not None else None
        return _server_info(d.OLLAMA, version=version.version, context_length=length)
    listed = await _maybe(client.get("/api/v0/models", a.LmStudioModels, timeout_s=DETECT_S))
    if listed is not None:
        return _server_info(d.LM_STUDIO, context_length=listed.context_of(model))
    info = await _maybe(client.get("/info", a.TgiInfo, timeout_s=DETECT_S))
    if info is not None:
        return _server_info(
            d.TGI,
            version=info.version,
            context_length=info.max_total_tokens,
            slots=info.max_concurrent_requests,
        )
    return _server_info(d.PLAIN)


def _server_info(
    kind: d.Dialect, *, version: str = "", context_length: int | None = None, slots: int | None = None
) -> a.ServerInfo:
    return a.ServerInfo(
        dialect=kind,
        models=(),
        version=plain(version, MAX_VERSION_CHARS),
        context_length=a.bounded(context_length, a.MAX_CONTEXT),
        slots=1 if kind.one_at_a_time else a.bounded(slots, a.MAX_UPSTREAM_SLOTS),
    )


async def _maybe(question: Awaitable[_T]) -> _T | None:
    """The answer, or ``None`` from a server that doesn't know the question; one that is slow or away may know it.

    Raises:
        UpstreamError: If the server is away.
    """
    try:
        return await question
    except UpstreamError as error:
        if error.reachability == "away":
            raise
        return None


def ways_to_count(kind: d.Dialect) -> tuple[CountWay, ...]:
    """How this server can be asked for a prompt's tokens, the cheapest first."""
    if kind is d.LLAMA_SERVER:
        return "template", "one_token"
    if kind is d.VLLM:
        return "tokenize", "one_token"
    return ("one_token",)


async def count_by(
    client: UpstreamClient,
    way: CountWay,
    model: str,
    messages: tuple[ChatMessage, ...],
    *,
    fields: d.Fields = d.NO_FIELDS,
    timeout_s: float,
) -> int:
    """Tokens of this conversation after the server's chat template.

    Args:
        client: The server's.
        way: How to ask.
        model: The model's name there.
        messages: The conversation.
        fields: What else the request for an answer says of the chat template.
        timeout_s: How long the server may take.

    Raises:
        UpstreamError: If it doesn't say; ``context_too_long`` if the conversation doesn't fit.
    """
    counted = await _WAYS[way](client, model, messages, fields, timeout_s)
    if counted is None or counted <= 0:
        raise broken("no count of the prompt's tokens")
    return counted


async def _by_template(
    client: UpstreamClient, _model: str, messages: tuple[ChatMessage, ...], fields: d.Fields, timeout_s: float
) -> int | None:
    body = d.template_body(messages, fields)
    templated = await client.post("/apply-template", body, a.Templated, timeout_s=timeout_s)
    tokenized = await client.post("/tokenize", d.tokenize_body(templated.prompt), a.Tokenized, timeout_s=timeout_s)
    return len(tokenized.tokens)


async def _by_tokenize(
    client: UpstreamClient, model: str, messages: tuple[ChatMessage, ...], fields: d.Fields, timeout_s: float
) -> int | None:
    body = d.vllm_count_body(model, messages, fields)
    return count_of((await client.post("/tokenize", body, a.CountReply, timeout_s=timeout_s)).count)


async def _by_one_token(
    client: UpstreamClient, model: str, messages: tuple[ChatMessage, ...], fields: d.Fields, timeout_s: float
) -> int | None:
    body = d.one_token_body(model, messages, fields)
    return usage_of(await client.complete(body, timeout_s=timeout_s)).prompt_tokens


_Counting = Callable[[UpstreamClient, str, tuple[ChatMessage, ...], d.Fields, float], Awaitable[int | None]]
_WAYS: Final[dict[CountWay, _Counting]] = {
    "template": _by_template,
    "tokenize": _by_tokenize,
    "one_token": _by_one_token,
}


def check_model(model: str, listed: tuple[str, ...]) -> None:
    """Raise if the upstream does not list this model.

    Raises:
        UpstreamError: ``unknown_model``; the owner's line names what there is.
    """
    if not {model, f"{model}:latest"}.isdisjoint(listed):  # Ollama lists names with their default tag
        return
    error = refusal(404, body=b'{"error": "model"}')
    raise UpstreamError(
        error.message, code=error.code, fix=error.fix, reachability=error.reachability,
        owner=f"The upstream has no model {plain(model, d.MAX_NAME_CHARS)!r}; it has: {a.shown_names(listed)}.",
        owner_fix="Name one of these with --model.",
    )  # fmt: skip
