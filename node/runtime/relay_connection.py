"""A connection to a relay that is made again whenever it fails, for as long as it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypedDict

from chain.errors import IdlewattError
from chain.logs import get_logger
from chain.retry import retry
from chain.urls import shown_url
from node.relay.circuit import RelayError
from node.relay.client import RelayClient, RelayState
from node.relay.clock import RelayClock
from node.values import RelayView
from node.values.text import plain

log = get_logger(__name__)

RETRY_WAIT_S: Final = 0.5
MAX_RETRY_WAIT_S: Final = 15.0
_LINE_CHARS: Final = 400
"""The longest reason that is shown; what a relay says of itself in it is bounded already."""


class RelayConnection:
    """Keeps one relay client connected under an identity of its own.

    Args:
        url: The relay's address; ``None`` where none is set.
        on_change: Called on the event loop whenever :meth:`view` changes.
        wait_s: The pause before a connection that could not be made is tried again the first time; it grows.
        max_wait_s: The longest pause.
    """

    def __init__(
        self,
        url: str | None,
        on_change: Callable[[], None],
        *,
        wait_s: float = RETRY_WAIT_S,
        max_wait_s: float = MAX_RETRY_WAIT_S,
    ) -> None:
        self._url = url
        self._shown_url = shown_url(url or "")
        self._on_change = on_change
        self._client: RelayClient | None = None
        self._state: RelayState | None = None
        self._error: IdlewattError | None = None
        self._clock: RelayClock | None = None
        self._wait_s = wait_s
        self._max_wait_s = max_wait_s
        self._ready = asyncio.Event()

    @property
    def is_online(self) -> bool:
        """Whether the relay is connected now."""
        return self._state is not None and self._state.phase == "online"

    @property
    def clock(self) -> RelayClock | None:
        """The relay's clock as last heard; ``None`` before its first welcome."""
        return self._clock

    def view(self) -> RelayView:
        """The connection as screens show it."""
        if not self._url:
            return RelayView(url="", state="off", rtt_ms=None, reconnects=0)
        state, error = self._state, self._error
        if state is None:
            phase: Literal["connecting", "reconnecting"] = "reconnecting" if error else "connecting"
            return RelayView(url=self._shown_url, state=phase, rtt_ms=None, reconnects=0, **_told(error))
        if state.phase == "online":
            error = None
        elif state.last_failure is not None:
            error = state.last_failure.error(self._shown_url)
        return RelayView(
            url=self._shown_url, state=state.phase, rtt_ms=state.rtt_ms, reconnects=state.reconnects, **_told(error)
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
            fix = "Check its address, or wait: it is tried again."
            error = self._error
            if error is None:
                raise RelayError(f"The relay {self._shown_url} can't be reached.", fix=fix) from None
            raise RelayError(error.message, code=error.code, fix=error.fix or fix, peer_code=error.peer_code) from None
        assert self._client is not None
        return self._client

    async def run(self, serve: Callable[[RelayClient], Awaitable[None]] | None = None) -> None:
        """Stay connected until cancelled; ``serve`` runs with each client for as long as that client lives."""
        url = self._url
        while url:
            await retry(
                lambda: self._run_once(url, serve),
                on=(IdlewattError,),
                wait_s=self._wait_s,
                max_wait_s=self._max_wait_s,
                on_failure=self._note_failure,
            )
            await asyncio.sleep(self._wait_s)

    def _note_failure(self, error: IdlewattError) -> None:
        if self._error is None or self._error.message != error.message:
            log.warning("relay_connection_failed", relay=self._shown_url, code=error.code, error=error.line())
        self._error = error
        self._state = None
        self._on_change()

    async def _run_once(self, url: str, serve: Callable[[RelayClient], Awaitable[None]] | None) -> None:
        closed = asyncio.Event()

        def on_state(state: RelayState) -> None:
            self._state = state
            self._clock = state.clock or self._clock
            if state.phase == "closed":
                closed.set()
            self._on_change()

        client = RelayClient(url, on_state=on_state)
        try:
            await client.start()
            self._client = client
            self._error = None
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


class _Told(TypedDict):
    error: str
    fix: str


def _told(error: IdlewattError | None) -> _Told:
    """A failure as a view tells it."""
    if error is None:
        return {"error": "", "fix": ""}
    return {"error": plain(error.message, _LINE_CHARS), "fix": plain(error.fix, _LINE_CHARS)}
