"""A loopback server in front of an L1 that counts what it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
from aiohttp import web


@dataclass
class CountingL1:
    """Passes everything on, and counts the calls by method."""

    target: str
    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)

    def taken(self) -> dict[str, int]:
        """The calls since this was last asked."""
        taken, self.calls = dict(self.calls), Counter()
        return taken


@asynccontextmanager
async def counting(target: str) -> AsyncIterator[CountingL1]:
    """One in front of the L1 at ``target``."""
    counted = CountingL1(target)
    async with aiohttp.ClientSession() as session:

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            asked = msgspec.json.decode(body)
            for call in asked if isinstance(asked, list) else [asked]:
                counted.calls[call["method"]] += 1
            async with session.post(target, data=body, headers={"Content-Type": "application/json"}) as answer:
                return web.Response(body=await answer.read(), content_type="application/json")

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        counted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield counted
        finally:
            await runner.cleanup()
