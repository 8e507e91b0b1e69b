"""One relay connection that a node wants to have: made again for as long as it is wanted, whatever happened to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from chain.errors import IdlewattError
from node.relay.circuit import RelayError
from node.relay.client import RelayClient, RelayState
from node.values import RelayView
from node.wire.text import plain

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 15.0


class RelayConnection:
    """Keeps one relay client connected under an identity of its own.

    Args:
        url: The relay's address; ``None`` where none is set.
        on_change: Told whenever :meth:`view` changes.
    """

    def __init__(self, url: str | None, on_change: Callable[[], None]) -> None:
        self._url = url
        self._on_change = on_change
        self._client: RelayClient | None = None
        self._state: RelayState | None = None
        self._error = ""
        self._ready = asyncio.Event()

    @property
    def is_online(self) -> bool:
        """Whether the relay is connected now."""
        return self._state is not None and self._state.phase == "online"

    def view(self) -> RelayView:
        """The connection as screens show it."""
        if not self._url:
            return RelayView(url="", state="off", rtt_ms=None, reconnects=0)
        state = self._state
        if state is None:
            phase = "reconnecting" if self._error else "connecting"
            return RelayView(url=self._url, state=phase, rtt_ms=None, reconnects=0, error=self._error)  # type: ignore[arg-type]
        error = "" if state.phase == "online" else plain(state.last_error, 200)
        return RelayView(
            url=self._url, state=state.phase, rtt_ms=state.rtt_ms, reconnects=state.reconnects, error=error
        )

    async def client(self, timeout_s: float = 10.0) -> RelayClient:
        """The connected client.

        Raises:
            RelayError: If no relay is set, or it can't be reached in time.
        """
        if not self._url:
            raise RelayError("No relay is set.", code="no_relay", fix="Pass --relay ws://host:port once.")
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            why = f" ({self._error})" if self._error else ""
            raise RelayError(
                f"The relay {self._url} can't be reached{why}.", fix="Check its address, or wait: it is tried again."
            ) from None
        assert self._client is not None
        return self._client

    async def run(self, serve: Callable[[RelayClient], Awaitable[None]] | None = None) -> None:
        """Stay connected until cancelled; ``serve`` runs with each client for as long as that client lives."""
        if not self._url:
            return
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await self._run_once(self._url, serve)
                pause_s = RETRY_FIRST_S
            except IdlewattError as error:
                if self._error != error.message:
                    log.warning("relay: %s", error.line())
                self._error = error.message
                self._state = None
                self._on_change()
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_MOST_S, pause_s * 2)

    async def _run_once(self, url: str, serve: Callable[[RelayClient], Awaitable[None]] | None) -> None:
        closed = asyncio.Event()

        def on_state(state: RelayState) -> None:
            self._state = state
            if state.phase == "closed":
                closed.set()
            self._on_change()

        client = RelayClient(url, on_state=on_state)
        try:
            await client.start()
            self._client = client
            self._error = ""
            self._ready.set()
            if serve is None:
                await closed.wait()
            else:
                await serve(client)
        finally:
            self._ready.clear()
            self._client = None
            await client.close()
            self._state = None
            self._on_change()
