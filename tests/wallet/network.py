"""A real devnet for wallet tests, and a proxy before its RPC that loses or rewrites answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web

from wallet.account import UnlockedAccount

Rewrite = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""From a method and the chain's true answer to what the wallet is told; ``None`` cuts the connection instead."""


def fresh_account() -> UnlockedAccount:
    return UnlockedAccount(secrets.token_bytes(32))


class Proxy:
    """Forwards JSON-RPC over real sockets; ``rewrite`` decides what comes back."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.rewrite: Rewrite = lambda _method, answer: answer
        self.forwards = lambda _method: True
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_post("/", self._forward)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        call = msgspec.json.decode(body)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"], "result": None}
        if self.forwards(call["method"]):
            async with self._session.post(
                self._target, data=body, headers={"Content-Type": "application/json"}
            ) as response:
                answer = msgspec.json.decode(await response.read())
        told = self.rewrite(call["method"], answer)
        if told is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")
