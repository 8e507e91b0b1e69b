"""Starts of a model: the one under way, and those that wait for it, end at once when the node goes offline."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from chain.errors import IdlewattError


class Startup:
    """One start of a model, from when it was asked for."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None

    @property
    def is_ended(self) -> bool:
        """Whether the node goes offline."""
        return self._ended.is_set()

    def end(self) -> None:
        """End it at once; what must not be cut, such as the stop of an earlier model, comes to its end first."""
        self._ended.set()
        if self._loading is not None:
            self._loading.cancel()

    async def run(self, loading: Coroutine[Any, Any, None]) -> None:
        """Load the model, unless the start is ended before or meanwhile.

        Raises:
            IdlewattError: ``cancelled``, or what the loading raises.
        """
        if self._ended.is_set():
            loading.close()
            raise _cancelled()
        self._loading = asyncio.ensure_future(loading)
        try:
            await self._loading
        except asyncio.CancelledError:
            if self._ended.is_set() and not _is_caller_cancelled():
                raise _cancelled() from None
            raise


class Startups:
    """The starts that were asked for and are not over."""

    def __init__(self) -> None:
        self._asked: set[Startup] = set()

    @contextmanager
    def asked(self) -> Iterator[Startup]:
        """A start, for as long as it takes."""
        startup = Startup()
        self._asked.add(startup)
        try:
            yield startup
        finally:
            self._asked.discard(startup)

    def end(self) -> None:
        """End every one at once."""
        for startup in self._asked:
            startup.end()


def _is_caller_cancelled() -> bool:
    caller = asyncio.current_task()
    return caller is not None and caller.cancelling() > 0


def _cancelled() -> IdlewattError:
    return IdlewattError(
        "Going online was ended, because the node goes offline.",
        code="cancelled",
        fix="Go online again when you want to rent out.",
    )
