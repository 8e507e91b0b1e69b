"""A loopback server in front of an L1, that passes requests on as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

Ask = Callable[[bytes], Awaitable[bytes]]
"""Asks the L1 behind."""
Answer = Callable[[bytes, Ask], Awaitable[bytes | None]]
"""From a request's body and a way to ask, the answer's body; ``None`` hangs up."""


@asynccontextmanager
async def in_front(target: str, answer: Answer) -> AsyncIterator[str]:
    """Answer in the place of the L1 at ``target``; yields the URL."""
    async with aiohttp.ClientSession() as session:

        async def ask(body: bytes) -> bytes:
            async with session.post(target, data=body, headers={"Content-Type": "application/json"}) as answered:
                return await answered.read()

        async def handle(request: web.Request) -> web.Response:
            said = await answer(await request.read(), ask)
            if said is not None:
                return web.Response(body=said, content_type="application/json")
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
