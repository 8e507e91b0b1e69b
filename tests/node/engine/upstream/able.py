"""Handlers of a scripted server that does what it is asked for, in the shapes that the real ones document."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.node.engine.upstream.hostile import DONE, STOP, Handler, chunk, event, saying, sending, speaking, usage

PAGES: dict[str, dict[str, Handler]] = {
    "openai": {},
    "llama-server": {"/props": saying({"default_generation_settings": {"n_ctx": 512}})},
    "vllm": {"/version": saying({"version": "0.9"})},
    "ollama": {"/api/version": saying({"version": "0.12"})},
    "tgi": {"/info": saying({"model_id": "m"})},
    "llama-cpp-python": {"/extras/tokenize/count": saying({"count": 1})},
}
"""What each kind of server is known by."""


def keeping_to_formats(*kinds: str) -> Handler:
    """Answers in these types of ``response_format``, or by the one word in a ``grammar``; else in plain words."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        wanted = body.get("response_format", {})
        answer: Any = "hello"
        if wanted.get("type") in kinds:
            schema = wanted.get("value") or wanted.get("json_schema", {}).get("schema") or {}
            answer = {name: part["enum"][0] for name, part in schema.get("properties", {}).items()}
        elif "grammar" in body and "grammar" in kinds:
            answer = {"sesame": "open"}
        return await speaking(answer if isinstance(answer, str) else json.dumps(answer))(request, body)

    return handler


def told(text: str | None, *entries: dict[str, Any]) -> bytes:
    """A chunk with log-probabilities."""
    delta = {} if text is None else {"content": text}
    return event({"choices": [{"index": 0, "delta": delta, "logprobs": {"content": list(entries)}}]})


def llama_server_entry(token: int, text: str, logprob: float = -0.5, tops: int = 0) -> dict[str, Any]:
    """One token as llama-server tells it, and others as likely as they come."""
    own = {"id": token, "token": text, "bytes": list(text.encode()), "logprob": logprob}
    others = [{"id": 90 + n, "token": "x", "bytes": [120], "logprob": -1.0 - n} for n in range(tops)]
    return own | {"top_logprobs": others}


def telling_as_llama_server(*texts: str) -> Handler:
    """Nothing without ``top_logprobs``, as llama-server; tokens are numbered from 10."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        tops = body.get("top_logprobs", 0) if body.get("logprobs") else 0
        entries = [llama_server_entry(10 + n, text, tops=tops) for n, text in enumerate(texts)]
        parts = [told(text, entry) if tops else chunk(text) for text, entry in zip(texts, entries, strict=True)]
        return await sending(*parts, STOP, usage(len(texts)), DONE)(request, body)

    return handler


def telling_as_vllm(*texts: str, end: str = "<|im_end|>") -> Handler:
    """Ids in the tokens' place where asked for; the token that ends the answer is told with its last event."""

    def entry(token: int, text: str, body: dict[str, Any]) -> dict[str, Any]:
        named = f"token_id:{token}" if body.get("return_tokens_as_token_ids") else text
        return {"token": named, "bytes": list(text.encode()), "logprob": -0.25, "top_logprobs": []}

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        parts = [
            told(text, entry(10 + n, text, body)) if body.get("logprobs") else chunk(text)
            for n, text in enumerate(texts)
        ]
        last = [told("", entry(2, end, body))] if body.get("logprobs") else []
        return await sending(*parts, *last, STOP, usage(len(texts)), DONE)(request, body)

    return handler


def embedding(*numbers: Any, tokens: Any = 3, rows: int = 1) -> Handler:
    """What ``/v1/embeddings`` answers for one text."""
    vector = {"object": "embedding", "index": 0, "embedding": list(numbers)}
    return saying({"object": "list", "data": [vector] * rows, "usage": {"prompt_tokens": tokens}})
