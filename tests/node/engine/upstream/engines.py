"""Engines over a hostile server, and what they say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from node.engine.protocol import EngineError
from node.engine.state import EngineState
from node.engine.upstream.engine import UpstreamEngine
from node.engine.upstream.limits import UpstreamLimits
from node.values.inference import ChatMessage
from tests.node.engine.helpers import ask
from tests.node.engine.upstream.hostile import (
    MODEL,
    Upstream,
)
from tests.patience import PATIENCE_S

HELLO = (ChatMessage("user", "hello"),)


class States:
    """What the engine said about itself, in order."""

    def __init__(self) -> None:
        self.seen: list[EngineState] = []
        self._news = asyncio.Event()

    def __call__(self, state: EngineState) -> None:
        self.seen.append(state)
        self._news.set()

    async def until(self, *names: str) -> EngineState:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = [state.name for state in self.seen]
                at = -1
                for name in names:
                    at = found.index(name, at + 1) if name in found[at + 1 :] else len(found)
                if at < len(found):
                    return self.seen[at]
                self._news.clear()
                await self._news.wait()


def engine_for(server: Upstream, **settings) -> UpstreamEngine:
    limits = {"watch_s": 0.02, "stall_s": 5.0, "load_wait_s": 0.0, "load_pause_s": 0.01}
    limits |= {name: settings.pop(name) for name in UpstreamLimits.__struct_fields__ if name in settings}
    return UpstreamEngine(server.url, MODEL, limits=UpstreamLimits(**limits), **settings)


async def failure(engine: UpstreamEngine, **changes) -> EngineError:
    with pytest.raises(EngineError) as raised:
        async for _ in engine.generate(ask(**changes)):
            pass
    return raised.value


def hanging(*parts: bytes) -> tuple[Callable, asyncio.Event, asyncio.Event]:
    """A stream that goes on for ever after these parts; tells when it began, and when its client went away."""
    began, gone = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request, body) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        began.set()
        try:
            while True:
                await response.write(b": ping\n\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            gone.set()
        return response

    return handler, began, gone
