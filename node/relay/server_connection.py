"""One websocket of a node at the relay: the handshake, then reading and writing until one side ends it."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, TypeVar

from aiohttp import WSMsgType, web
from nacl.signing import SigningKey

from chain.errors import WEBSOCKET_POLICY_VIOLATION
from node.relay.auth import check_answer, make_challenge
from node.relay.exception_groups import leaf_exceptions
from node.relay.limits import RelayLimits, TokenBucket
from node.relay.node_session import Connection, NodeSession
from node.values.text import plain
from node.wire import messages as m
from node.wire.codec import Reader, auth_reader, choose_version, encode, hello_reader, node_reader
from node.wire.wire_error import WireError

MessageT = TypeVar("MessageT")

_NORMAL_CLOSURE: Final = 1000
_REASON_CHARS: Final = 240
_CLOSE_REASON_BYTES: Final = 120
_QUERY_COST_SHARE: Final = 4


class _GoneError(Exception):
    """The websocket ended; ``left`` says that the node meant to."""

    def __init__(self, *, left: bool = False) -> None:
        super().__init__("left" if left else "lost")
        self.left = left


class NodeSessions(Protocol):
    """What a connection needs of the relay server: its limits, its key, and the sessions of its nodes."""

    limits: RelayLimits
    identity: SigningKey
    versions: tuple[int, int]
    """The oldest and the newest protocol version that the relay speaks."""

    def admit(self, node: bytes, auth: m.Auth, connection: Connection) -> tuple[NodeSession, m.Welcome]:
        """Resume or start the session of a node that proved its identity.

        Raises:
            WireError: If the relay is full, or the node's count of received messages is impossible.
        """
        ...

    def on_message(self, session: NodeSession, message: m.NodeMessage, size_bytes: int) -> None:
        """Take a message from a node.

        Raises:
            WireError: If the node broke the protocol or crossed a limit.
        """
        ...

    def lost(self, session: NodeSession, connection: Connection) -> None:
        """Note that a session's websocket is gone."""
        ...

    def end(self, session: NodeSession, connection: Connection, error: WireError) -> None:
        """End a session whose node left or broke a rule."""
        ...


class ServerConnection:
    """One websocket at the relay.

    Args:
        server: Whose sessions it serves.
        socket: A prepared websocket.
        request: The HTTP request that it came with.
    """

    def __init__(self, server: NodeSessions, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self._server = server
        self._socket = socket
        self._request = request
        self._limits = server.limits
        self._bucket = TokenBucket(server.limits.bytes_per_s, server.limits.burst_bytes)
        self._cut_by: WireError | None = None
        self._cut = asyncio.Event()
        self._heard_at = asyncio.get_running_loop().time()
        self._session: NodeSession | None = None
        self.done = asyncio.Event()
        """Set when the websocket is closed."""

    def cut(self, error: WireError) -> None:
        """End this connection with a coded error, soon."""
        if self._cut_by is None:
            self._cut_by = error
            self._cut.set()

    async def run(self, *, crowded: bool) -> None:
        """Serve the websocket to its end; nothing that the node does makes it raise.

        Args:
            crowded: Whether its address has too many connections: then it only gets a coded error.
        """
        try:
            if crowded:
                raise WireError("Too many connections from this address.", code="limit_connections")
            await self._serve()
        except WireError as error:
            await self._refuse(error)
        except _GoneError:
            await self._close(_NORMAL_CLOSURE, b"")
        finally:
            self.done.set()

    async def _handshake(self) -> NodeSession:
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                hello = await self._receive(hello_reader())
                version = choose_version(hello.min_version, hello.max_version, ours=self._server.versions)
                challenge = make_challenge(hello, version, self._server.identity)
                await self._send(encode(challenge))
                auth = await self._receive(auth_reader())
        except TimeoutError:
            raise WireError("The handshake took too long.", code="handshake_timeout") from None
        check_answer(hello, challenge, auth)
        session, welcome = self._server.admit(hello.node, auth, self)
        try:
            await self._send(encode(welcome))
        except _GoneError:
            self._server.lost(session, self)
            raise
        return session

    async def _serve(self) -> None:
        """Serve until something ends the connection, then raise why."""
        found: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self._converse(tasks))
        except* (WireError, _GoneError) as group:
            found = leaf_exceptions(group)
        finally:
            if not found and self._session is not None:
                # Cancelled, or a bug: the session must not count as connected any longer.
                self._server.lost(self._session, self)
        broken = self._cut_by or next((cause for cause in found if isinstance(cause, WireError)), None)
        if self._session is not None:
            if broken is not None:
                self._server.end(self._session, self, broken)
            elif any(cause.left for cause in found if isinstance(cause, _GoneError)):
                self._server.end(self._session, self, WireError("The node left.", code="peer_gone"))
            else:
                self._server.lost(self._session, self)
        raise broken or _GoneError

    async def _converse(self, tasks: asyncio.TaskGroup) -> None:
        session = self._session = await self._handshake()
        tasks.create_task(self._write(session))
        await self._read(session)

    async def _read(self, session: NodeSession) -> None:
        reader = node_reader(self._limits.message_bytes)
        while True:
            data = await self._receive_bytes()
            message = reader.read(data)
            if isinstance(message, m.Query) and self._bucket.take(self._limits.page_bytes // _QUERY_COST_SHARE):
                raise WireError("Offers are asked for too often.", code="limit_rate")
            if session.connection is not self:
                raise _GoneError
            self._server.on_message(session, message, len(data))

    async def _write(self, session: NodeSession) -> None:
        while session.connection is self:
            data = session.stream.next()
            if data is None:
                session.wake.clear()
                await session.wake.wait()
            else:
                await self._send(data)
        raise _GoneError

    async def _watch(self) -> None:
        """Raise when the connection is cut, or silent for too long."""
        loop = asyncio.get_running_loop()
        while self._cut_by is None:
            silent_at = self._heard_at + self._limits.idle_s
            try:
                async with asyncio.timeout_at(silent_at):
                    await self._cut.wait()
            except TimeoutError:
                if loop.time() >= self._heard_at + self._limits.idle_s:
                    raise WireError("The node was silent for too long.", code="idle_timeout") from None
        raise self._cut_by

    async def _receive(self, reader: Reader[MessageT]) -> MessageT:
        return reader.read(await self._receive_bytes())

    async def _receive_bytes(self) -> bytes:
        while True:
            message = await self._socket.receive()
            self._heard_at = asyncio.get_running_loop().time()
            size_bytes = len(message.data) if isinstance(message.data, bytes | str) else 0
            if self._bucket.take(size_bytes + m.FRAME_COST_BYTES):
                raise WireError(f"A node sends {self._limits.bytes_per_s} bytes a second at most.", code="limit_rate")
            match message.type:
                case WSMsgType.BINARY:
                    data: bytes = message.data
                    return data
                case WSMsgType.PING:
                    await self._pong(message.data)
                case WSMsgType.PONG:
                    continue
                case WSMsgType.TEXT:
                    raise WireError("Only binary messages are allowed.")
                case _:
                    raise _GoneError(left=self._socket.close_code == _NORMAL_CLOSURE)

    async def _send(self, data: bytes) -> None:
        try:
            await self._socket.send_bytes(data)
        except (ConnectionError, RuntimeError):
            raise _GoneError from None

    async def _pong(self, data: bytes) -> None:
        try:
            await self._socket.pong(data)
        except (ConnectionError, RuntimeError):
            raise _GoneError from None

    async def _refuse(self, error: WireError) -> None:
        """Send the node the coded error with its fix, if it still reads, and close."""
        try:
            async with asyncio.timeout(self._limits.close_s):
                await self._send(encode(m.Failure(error.code, plain(error.line(), _REASON_CHARS))))
        except (TimeoutError, _GoneError):
            self._abort()
            return
        status = error.entry.websocket_close or WEBSOCKET_POLICY_VIOLATION
        await self._close(status, error.code.encode()[:_CLOSE_REASON_BYTES])

    async def _close(self, code: int, reason: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.close_s):
                await self._socket.close(code=code, message=reason)
        except (TimeoutError, ConnectionError, RuntimeError):
            self._abort()

    def _abort(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.abort()
