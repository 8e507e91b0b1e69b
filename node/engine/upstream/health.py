"""The state of an upstream, checked every few seconds, and at once after a request failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from chain.errors import ErrorCode
from chain.logs import get_logger
from node.engine.protocol import EngineError
from node.engine.state import EngineState, StateName
from node.engine.upstream.refusals import UpstreamError, again_fix, unreachable

log = get_logger(__name__)

MAX_BACKOFF_S: Final = 30.0
CLOSED: Final = "The engine is closed."
_ABOUT_THE_REQUEST: Final[frozenset[ErrorCode]] = frozenset(
    {"bad_request", "context_too_long", "engine_busy", "unpaid"}
)


class UpstreamHealth:
    """The state of an engine whose work is done elsewhere.

    Args:
        on_state: Called on the loop whenever `state` changes.
        watch_seconds: How often a server that answers is asked whether it is still there.
    """

    def __init__(self, on_state: Callable[[EngineState], None] | None, watch_seconds: float) -> None:
        self._on_state = on_state
        self._watch_s = watch_seconds
        self._look = asyncio.Event()
        self._away_until_s = 0.0
        self.note = ""
        """What the owner should know of a server that is ready."""
        self.state = EngineState("closed", "It was not started yet.")
        """The state of the engine, and why."""

    def become(self, name: StateName, why: str = "") -> None:
        """Change the state, and call `on_state`."""
        state = EngineState(name, why)
        if state == self.state:
            return
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    def check_usable(self) -> None:
        """Refuse a request that can't be served now.

        Raises:
            EngineError: If the engine is closed, or its server away; the fix says when to come back.
        """
        if self.state.name == "closed":
            raise EngineError(CLOSED, code="engine_closed")
        if self.state.name != "ready":
            wait_s = self._away_until_s - asyncio.get_running_loop().time()
            error = unreachable("")
            raise EngineError(error.message, code=error.code, fix=again_fix(wait_s if wait_s > 0 else None))

    def noticed(self, error: UpstreamError) -> None:
        """A request failed: what it says about the server counts at once, and the server is checked."""
        if self.state.name not in {"ready", "restarting", "failed"} or error.code in _ABOUT_THE_REQUEST:
            return
        log.warning("upstream_request_failed", code=error.code, error=error.owner_line())
        if error.reachability != "here":
            self._is_down(error)
        self._look.set()

    def look_soon(self) -> None:
        """Check the server now, and not only at the next time."""
        self._look.set()

    async def watch(self, look: Callable[[], Awaitable[None]], is_engaged: Callable[[], bool]) -> None:
        """Look again and again, until cancelled.

        Args:
            look: Asks the server whether it is there; raises ``UpstreamError`` where it isn't.
            is_engaged: Whether asking would break the request under way, which shows as much.
        """
        loop = asyncio.get_running_loop()
        pause_s = self._watch_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            self._look.clear()
            if is_engaged():
                continue
            wait_s = self._away_until_s - loop.time()
            if wait_s > 0:
                pause_s = wait_s
                continue
            try:
                await look()
            except UpstreamError as error:
                if error.code != "engine_busy":
                    self._is_down(error)
                pause_s = min(MAX_BACKOFF_S, 2 * pause_s)
                continue
            pause_s = self._watch_s
            self.become("ready", self.note)

    def _is_down(self, error: UpstreamError) -> None:
        if error.retry_after_s is not None:
            self._away_until_s = asyncio.get_running_loop().time() + error.retry_after_s
        name: StateName = "failed" if error.reachability == "misconfigured" else "restarting"
        self.become(name, error.owner_line())
