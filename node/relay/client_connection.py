"""One websocket of a relay client: the handshake, then reading, writing and pings until it is lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, TypeVar

import aiohttp
from nacl.signing import SigningKey

from node.relay.auth import answer_challenge
from node.relay.clock import RelayClock, steady_s
from node.relay.exception_groups import leaf_exceptions
from node.relay.limits import TokenBucket
from node.relay.relay_session import RelaySession
from node.values.text import plain
from node.wire import messages as m
from node.wire.codec import (
    MAX_MESSAGE_BYTES,
    Reader,
    challenge_reader,
    choose_version,
    encode,
    relay_reader,
    welcome_reader,
)
from node.wire.wire_error import WireError

MessageT = TypeVar("MessageT")

_MESSAGE_TOO_BIG: Final = 1009
_REASON_CHARS: Final = 240
_PINGS_PER_IDLE: Final = 3
_PACE: Final = 0.9
"""The share of the relay's rate limit that the client uses, so that network jitter doesn't break the limit."""


class LostError(Exception):
    """The websocket is lost; the message is one line that says how."""


class RefusedError(LostError):
    """The relay ended the connection with a coded error.

    Args:
        code: The relay's code.
        reason: The relay's reason; it is made plain and bounded here.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"The relay refused ({code}): {plain(reason, _REASON_CHARS) or 'no reason given'}")
        self.code = code


class ClientConnection:
    """One connected websocket.

    Args:
        socket: The websocket.
        session: The session that it serves.
        ping_timeout_s: How long a ping may go unanswered.
        on_pong: Called with each measured round trip in milliseconds, and with the relay's clock where it tells that.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        session: RelaySession,
        *,
        ping_timeout_s: float,
        on_pong: Callable[[float, RelayClock | None], None],
    ) -> None:
        self._socket = socket
        self._session = session
        self._ping_timeout_s = ping_timeout_s
        self._on_pong = on_pong
        self._pong_time_ms = 0
        self._pong = asyncio.Event()
        self._ping_nonce = 0
        self.clock: RelayClock | None = None
        """The relay's clock as its welcome told it."""
        self.drained = asyncio.Event()
        """Set while nothing waits to be sent."""

    async def handshake(self, key: SigningKey) -> m.Welcome:
        """Prove this node's identity, and resume the session or begin a new one.

        Args:
            key: The node's identity.

        Returns:
            The relay's limits and the state of the session.

        Raises:
            LostError: If the relay refuses or the websocket is lost.
            WireError: If the relay breaks the protocol or can't prove its identity.
        """
        hello = m.Hello(m.PROTOCOL_MIN, m.PROTOCOL_MAX, bytes(key.verify_key), secrets.token_bytes(32))
        await self._send(encode(hello))
        challenge = await self._receive(challenge_reader())
        if isinstance(challenge, m.Failure):
            raise RefusedError(challenge.code, challenge.reason)
        choose_version(challenge.version, challenge.version)
        token = self._session.welcome.token if self._session.welcome else b""
        received = self._session.stream.received
        answer = encode(answer_challenge(hello, challenge, key, token=token, received=received))
        asked_s = steady_s()
        await self._send(answer)
        welcome = await self._receive(welcome_reader())
        if isinstance(welcome, m.Failure):
            raise RefusedError(welcome.code, welcome.reason)
        self.clock = RelayClock.told(welcome.time_ms, asked_s, steady_s())
        return welcome

    async def converse(self, welcome: m.Welcome) -> None:
        """Read, write and ping until the connection ends, then raise why.

        Args:
            welcome: The relay's answer in the handshake.

        Raises:
            LostError: If the websocket is lost.
            WireError: If the relay breaks the protocol.
        """
        found: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._write(welcome))
                tasks.create_task(self._ping(welcome))
        except* (LostError, WireError) as group:
            found = leaf_exceptions(group)
        refused = [cause for cause in found if isinstance(cause, RefusedError)]
        raise (refused or found)[0]

    async def close(self, *, leaving: bool) -> None:
        """Close the websocket.

        Args:
            leaving: Whether the session ends too; otherwise the relay keeps it for the grace time.
        """
        code = aiohttp.WSCloseCode.OK if leaving else aiohttp.WSCloseCode.GOING_AWAY
        await self._socket.close(code=code)

    async def _read(self) -> None:
        reader = relay_reader()
        while True:
            data = await self._receive_bytes()
            message = reader.read(data)
            if isinstance(message, m.Failure):
                raise RefusedError(message.code, message.reason)
            self._session.on_message(message, len(data))
            if isinstance(message, m.Pong) and message.nonce == self._ping_nonce:
                self._pong_time_ms = message.time_ms
                self._pong.set()

    async def _write(self, welcome: m.Welcome) -> None:
        bucket = TokenBucket(welcome.bytes_per_s * _PACE, welcome.burst_bytes / 2)
        session = self._session
        while True:
            data = session.stream.next()
            if data is None:
                self.drained.set()
                session.wake.clear()
                await session.wake.wait()
                self.drained.clear()
                continue
            debt_s = bucket.take(len(data) + m.FRAME_COST_BYTES)
            if debt_s:
                await asyncio.sleep(debt_s)
            await self._send(data)

    async def _ping(self, welcome: m.Welcome) -> None:
        loop = asyncio.get_running_loop()
        pause_s = welcome.idle_ms / 1000 / _PINGS_PER_IDLE
        while True:
            self._ping_nonce += 1
            self._pong.clear()
            sent_at, asked_s = loop.time(), steady_s()
            self._session.stream.put_urgent(m.Ping(self._ping_nonce, self._session.stream.received))
            self._session.wake.set()
            try:
                async with asyncio.timeout(self._ping_timeout_s):
                    await self._pong.wait()
            except TimeoutError:
                raise LostError("The relay stopped answering.") from None
            clock = RelayClock.told(self._pong_time_ms, asked_s, steady_s())
            self._on_pong((loop.time() - sent_at) * 1000, clock)
            await asyncio.sleep(pause_s)

    async def _receive(self, reader: Reader[MessageT]) -> MessageT:
        return reader.read(await self._receive_bytes())

    async def _receive_bytes(self) -> bytes:
        message = await self._socket.receive()
        if message.type == aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        if message.type == aiohttp.WSMsgType.TEXT:
            raise WireError("The relay sent a text message.")
        if self._socket.close_code == _MESSAGE_TOO_BIG:
            raise RefusedError("limit_frame", f"A message exceeds {MAX_MESSAGE_BYTES} bytes.")
        raise LostError("The connection to the relay was lost.")

    async def _send(self, data: bytes) -> None:
        try:
            await self._socket.send_bytes(data)
        except (aiohttp.ClientError, ConnectionError, RuntimeError):
            raise LostError("The connection to the relay was lost.") from None
