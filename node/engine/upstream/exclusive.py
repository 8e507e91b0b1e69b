"""Exclusive access to a server whose running stream any other request would break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from node.engine.upstream.refusals import UpstreamError, again_fix

MAX_WAIT_S: Final = 25.0
"""How long a request waits for its turn, before the buyer's patience ends."""
_ALONE: Final = "The upstream serves one request at a time, and the one before took too long."


class ExclusiveAccess:
    """A lock for a server that serves one request at a time; at any other server it locks nothing."""

    def __init__(self) -> None:
        self.one_at_a_time = False
        """What the server's dialect says."""
        self._lock = asyncio.Lock()

    @property
    def is_taken(self) -> bool:
        """Whether a request is under way that any other would break."""
        return self.one_at_a_time and self._lock.locked()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Ask the server something inside this block.

        Raises:
            UpstreamError: With code ``engine_busy`` if the turn doesn't come.
        """
        if not self.one_at_a_time:
            yield
            return
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._lock.acquire()
        except TimeoutError:
            raise UpstreamError(
                "The provider's server is busy.", code="engine_busy", fix=again_fix(None), owner=_ALONE
            ) from None
        try:
            yield
        finally:
            self._lock.release()
