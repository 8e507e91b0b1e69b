"""A loopback line to an L1 on which requests and answers come late, twice, or not at all. Real sockets."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

TROUBLES = ("late", "twice", "request lost", "answer lost", "garbage")
LATEST_S = 0.2


@dataclass
class BadLine:
    """Passes requests on to ``target``, one in ``one_in`` of them with trouble; the seed says which and how."""

    target: str
    seed: int
    one_in: int = 4
    is_bad: bool = True
    url: str = ""
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def trouble(self) -> str:
        """What happens to the next request."""
        if not self.is_bad or self._random.randrange(self.one_in):
            return ""
        found = self._random.choice(TROUBLES)
        self.met[found] += 1
        return found


@asynccontextmanager
async def bad_line(target: str, seed: int) -> AsyncIterator[BadLine]:
    """A line to the L1 at ``target``."""
    line = BadLine(target, seed)
    async with aiohttp.ClientSession() as session:

        async def ask(body: bytes) -> bytes:
            async with session.post(target, data=body, headers={"Content-Type": "application/json"}) as answer:
                return await answer.read()

        def hang_up(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        async def handle(request: web.Request) -> web.Response:
            body, trouble = await request.read(), line.trouble()
            if trouble == "request lost":
                return hang_up(request)
            if trouble == "late":
                await asyncio.sleep(line._random.uniform(0, LATEST_S))
            answer = await ask(body)
            if trouble == "twice":
                answer = await ask(body)
            if trouble == "answer lost":
                return hang_up(request)
            if trouble == "garbage":
                answer = answer[: len(answer) // 2]
            return web.Response(body=answer, content_type="application/json")

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        line.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield line
        finally:
            await runner.cleanup()
