"""An upstream on loopback that does whatever a test tells it to, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
MODEL = "big-model"


class Upstream:
    """A server whose answers are set by assigning to its fields.

    Every request's path and parsed body are kept in `asked`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.models: Handler = listing(MODEL)
        self.chat: Handler = speaking("One", " two", " three")
        self.one_token: Handler = counting(7)
        self.own: dict[str, Handler] = {}
        """Handlers of paths beside ``/v1``."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else {}
        self.asked.append((request.path, body))
        self.headers.append(dict(request.headers))
        if request.path == "/v1/models":
            return await self.models(request, body)
        if request.path == "/v1/chat/completions":
            return await (self.chat if body.get("stream") else self.one_token)(request, body)
        handler = self.own.get(request.path)
        return await handler(request, body) if handler else web.Response(status=404)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()


def listing(*names: str, **more: Any) -> Handler:
    return saying({"object": "list", "data": [{"id": name, **more} for name in names]})


def saying(value: Any, **more: Any) -> Handler:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(value, **more)

    return handler


def refusing(status: int, message: str = "", **headers: str) -> Handler:
    return saying({"error": {"message": message, "type": "x"}}, status=status, headers=headers)


def counting(prompt_tokens: int) -> Handler:
    """So many tokens in a short prompt, and a token more for each four characters in a long one."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        chars = sum(len(message["content"]) for message in body["messages"])
        tokens = prompt_tokens + (chars // 4 if chars > 200 else 0)
        usage = {"prompt_tokens": tokens, "completion_tokens": 1}
        return web.json_response(
            {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}], "usage": usage}
        )

    return handler


def chunk(text: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def usage(completion: int, prompt: int = 7) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


DONE = b"data: [DONE]\n\n"
STOP = chunk(finish="stop")


def sending(*parts: bytes, content_type: str = "text/event-stream") -> Handler:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        return response

    return handler


def speaking(*texts: str, stated: int | None = None) -> Handler:
    end = [usage(stated)] if stated is not None else []
    return sending(*(chunk(text) for text in texts), STOP, *end, DONE)


def cutting(*parts: bytes) -> Handler:
    """Breaks the connection in the middle of the answer."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        assert request.transport is not None
        request.transport.abort()
        return response

    return handler
