"""The relay server: websockets around the circuit router.

It holds no money and reads no prompt. Nodes sign and verify offers themselves, and circuits carry sealed frames. Any
relay can replace any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from nacl.signing import SigningKey

from chain.errors import IdlewattError
from chain.listening import listening_sockets
from chain.logs import get_logger
from node.relay import router
from node.relay.auth import node_id
from node.relay.bus import Bus, BusMessage, LocalBus, RelayDown, RelayUp
from node.relay.circuit import NodeId, RelayError
from node.relay.client_state import now_ms
from node.relay.connection_limiter import ConnectionLimiter, LimitedHandler
from node.relay.identity import load_identity
from node.relay.limits import RelayLimits
from node.relay.node_session import Connection, NodeSession
from node.relay.server_connection import ServerConnection
from node.wire import messages as m
from node.wire.codec import OUR_VERSIONS
from node.wire.wire_error import WireError

log: Final = get_logger(__name__)

_BACKLOG: Final = 512
_MAX_PAGES_WAITING: Final = 4
_MS: Final = 1000


class RelayServer:
    """A relay on one address.

    Args:
        host: Where to listen; ``::`` is every address of both families.
        port: The port; 0 takes a free one.
        limits: What nodes may do.
        identity_dir: The folder that keeps the relay's key, so that its identity survives a restart; ``None`` makes a
            throwaway key.
        bus: Its connection to other relays of the same network.
        versions: The oldest and the newest protocol version that it speaks.
        now_ms: Its clock, milliseconds UTC, which nodes compare theirs with.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        limits: RelayLimits | None = None,
        identity_dir: Path | None = None,
        bus: Bus | None = None,
        versions: tuple[int, int] = OUR_VERSIONS,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.limits = limits or RelayLimits()
        self.versions = versions
        self._now_ms = now_ms
        self._host = host
        self._wanted_port = port
        self._identity_dir = identity_dir
        self._bus: Bus = bus or LocalBus()
        self.identity = SigningKey.generate()
        """The relay's key; ``start`` replaces it by the one that is kept."""
        self._limiter = ConnectionLimiter(self.limits.connections_per_ip, self.limits.handshake_s)
        self._sessions: dict[bytes, NodeSession] = {}
        self._connections: set[ServerConnection] = set()
        self._buffered_bytes = 0
        self._listeners: list[asyncio.Server] = []
        self._http: web.Server | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if not self._listeners or not self._listeners[0].sockets:
            return self._wanted_port
        port: int = self._listeners[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The address for ``RelayClient``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self.port}"

    @property
    def relay_id(self) -> NodeId:
        """The relay's own identity, once started."""
        return node_id(bytes(self.identity.verify_key))

    async def start(self) -> None:
        """Listen.

        Raises:
            RelayError: If the address can't be listened on, or the key can't be kept.
        """
        loop = asyncio.get_running_loop()
        if self._identity_dir is not None:
            self.identity = await asyncio.to_thread(load_identity, self._identity_dir)
        self._router = router.CircuitRouter(self.relay_id, self.limits)
        http = web.Server(self._handle)
        self._http = http

        def handler() -> LimitedHandler:
            return LimitedHandler(
                self._limiter, http, loop=loop, access_log=None, keepalive_timeout=self.limits.handshake_s
            )

        try:
            sockets = await listening_sockets(self._host, self._wanted_port, backlog=_BACKLOG)
        except IdlewattError as error:
            is_taken = error.code == "port_in_use"
            fix = "Choose another port with --port, or stop what uses this one." if is_taken else error.fix
            raise RelayError(f"The relay can't start: {error.message}", code=error.code, fix=fix) from None
        self._listeners = [await loop.create_server(handler, sock=opened, backlog=_BACKLOG) for opened in sockets]
        self._bus.join(self.relay_id, self._on_bus)
        self._bus.broadcast(self.relay_id, RelayUp(self.relay_id))
        log.info("relay_started", relay=self.relay_id[:8], url=self.url)

    async def close(self) -> None:
        """Send every node a coded error, close every connection, and stop listening; calling it twice does nothing."""
        if not self._listeners or self._closing:
            return
        self._closing = True
        for listener in self._listeners:
            listener.close()
        self._bus.broadcast(self.relay_id, RelayDown(self.relay_id))
        self._bus.leave(self.relay_id)
        closing = WireError("The relay is shutting down.", code="relay_closing")
        waits = [asyncio.ensure_future(connection.done.wait()) for connection in self._connections]
        for connection in self._connections:
            connection.cut(closing)
        for session in self._sessions.values():
            if session.grace is not None:
                session.grace.cancel()
        if waits:
            _done, late = await asyncio.wait(waits, timeout=2 * self.limits.close_s + 1)
            for wait in late:
                wait.cancel()
        if self._http is not None:
            await self._http.shutdown(self.limits.close_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.close_s):
                await asyncio.gather(*(listener.wait_closed() for listener in self._listeners))
        self._sessions.clear()

    def counts(self) -> dict[str, int]:
        """What ``/healthz`` reports."""
        return {
            "connections": self._limiter.connections,
            "nodes": self._router.nodes,
            "circuit_ends": self._router.circuits,
            "offers": self._router.directory.offers,
            "buffered_bytes": self._buffered_bytes,
        }

    # -- what connections call ---------------------------------------------------------------------------------------

    def admit(self, node: bytes, auth: m.Auth, connection: Connection) -> tuple[NodeSession, m.Welcome]:
        """Resume or start the session of a node that proved its identity.

        Raises:
            WireError: If the relay is full, or the node's count of received messages is impossible.
        """
        session = self._sessions.get(node)
        resumed = session is not None and secrets.compare_digest(session.token, auth.token)
        if session is not None and resumed:
            self._resume(session, auth.received, connection)
        else:
            if session is not None:
                self._finish(session, WireError("This identity connected again.", code="replaced"))
            self._router.add(node)
            session = self._sessions[node] = NodeSession(node, connection)
        self._apply(self._router.attach(node))
        log.info("node_session_resumed" if resumed else "node_session_started", node=node_id(node)[:8])
        return session, self._welcome(session, resumed=resumed)

    def on_message(self, session: NodeSession, message: m.NodeMessage, size_bytes: int) -> None:
        """Handle a message of a node.

        Args:
            session: The node's session.
            message: The decoded message.
            size_bytes: Its encoded size.

        Raises:
            WireError: If the node broke the protocol or crossed a limit.
        """
        if isinstance(message, m.Ack | m.Ping):
            session.stream.acknowledge(message.received)
            if isinstance(message, m.Ping):
                session.stream.put_urgent(m.Pong(message.nonce, session.stream.received, self._now_ms()))
                session.wake.set()
            self._account(session)
            return
        if isinstance(message, m.Query) and session.stream.control_waiting >= _MAX_PAGES_WAITING:
            raise WireError("The earlier pages weren't read yet.", code="limit_queries")
        session.stream.note_received(size_bytes)
        session.wake.set()
        self._apply(self._router.on_message(session.node, message))

    def lost(self, session: NodeSession, connection: Connection) -> None:
        """Note that a session's websocket is lost. The session waits for the grace time if it has circuits."""
        if session.connection is not connection:
            return
        session.connection = None
        self._apply(self._router.detach(session.node))
        if self._closing or not self._router.circuits_of(session.node):
            self._finish(session, WireError("The node's connection was lost.", code="peer_gone"))
            return
        gone = WireError("The node didn't come back.", code="peer_gone")
        loop = asyncio.get_running_loop()
        session.grace = loop.call_later(self.limits.resume_grace_s, self._finish, session, gone)

    def end(self, session: NodeSession, connection: Connection, error: WireError) -> None:
        """End a session whose node left or broke a rule."""
        if session.connection is connection:
            log.info("node_session_ended", node=node_id(session.node)[:8], code=error.code)
            self._finish(session, error)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _resume(self, session: NodeSession, received: int, connection: Connection) -> None:
        try:
            session.stream.resume(received)
        except WireError as error:
            self._finish(session, error)
            raise
        if session.grace is not None:
            session.grace.cancel()
            session.grace = None
        if session.connection is not None:
            session.connection.cut(WireError("This session was resumed elsewhere.", code="replaced"))
        session.connection = connection
        self._account(session)

    def _welcome(self, session: NodeSession, *, resumed: bool) -> m.Welcome:
        limits = self.limits
        return m.Welcome(
            token=session.token,
            resumed=resumed,
            received=session.stream.received,
            grace_ms=int(limits.resume_grace_s * _MS),
            idle_ms=max(1, int(limits.idle_s * _MS)),
            frame_bytes=limits.frame_bytes,
            window_bytes=limits.window_bytes,
            circuits=limits.circuits_per_node,
            offers=limits.offers_per_node,
            offer_bytes=limits.offer_bytes,
            bytes_per_s=limits.bytes_per_s,
            burst_bytes=limits.burst_bytes,
            time_ms=self._now_ms(),
        )

    def _finish(self, session: NodeSession, error: WireError) -> None:
        """End a session, tell its peers, and close its websocket if there is one."""
        self._apply(self._forget(session, error))

    def _forget(self, session: NodeSession, error: WireError) -> list[router.Action]:
        """End a session and close its websocket; returns the actions that tell its peers."""
        if self._sessions.get(session.node) is not session:
            return []
        del self._sessions[session.node]
        self._buffered_bytes -= session.accounted_bytes
        if session.grace is not None:
            session.grace.cancel()
        if session.connection is not None:
            session.connection.cut(error)
            session.connection = None
            session.wake.set()
        return self._router.remove(session.node)

    def _on_bus(self, message: BusMessage) -> None:
        self._apply(self._router.on_bus(message))

    def _apply(self, actions: Iterable[router.Action]) -> None:
        waiting = deque(actions)
        while waiting:
            match waiting.popleft():
                case router.SendToNode(node, message):
                    waiting.extend(self._deliver(node, message))
                case router.DropCircuit(node, circuit):
                    if node in self._sessions:
                        self._sessions[node].stream.drop_circuit(circuit)
                case router.SendToRelay(relay, bus_message):
                    self._bus.send(relay, bus_message)
                case router.SendToAllRelays(bus_message):
                    self._bus.broadcast(self.relay_id, bus_message)
                case router.EndSession(node, code, reason):
                    if node in self._sessions:
                        waiting.extend(self._forget(self._sessions[node], WireError(reason, code=code)))

    def _deliver(self, node: bytes, message: m.Message) -> list[router.Action]:
        """Queue a message for a node; returns the actions that follow if too much is queued."""
        session = self._sessions.get(node)
        if session is None:
            return []
        if isinstance(message, m.Credit):
            session.stream.put_credit(message.circuit, message.amount_bytes)
        elif isinstance(message, m.Data | m.Close | m.Incoming | m.Accepted):
            session.stream.put_on_circuit(message.circuit, message)
        else:
            session.stream.put(message)
        session.wake.set()
        self._account(session)
        if session.stream.buffered_bytes > self.limits.node_buffered_bytes:
            return self._forget(session, WireError("The node doesn't read what it asks for.", code="limit_buffer"))
        if self._buffered_bytes > self.limits.buffered_bytes:
            greediest = max(self._sessions.values(), key=lambda held: held.accounted_bytes)
            return self._forget(greediest, WireError("The relay keeps too much for this node.", code="limit_buffer"))
        return []

    def _account(self, session: NodeSession) -> None:
        self._buffered_bytes += session.stream.buffered_bytes - session.accounted_bytes
        session.accounted_bytes = session.stream.buffered_bytes

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        if request.path == "/healthz":
            body = {"status": "closing" if self._closing else "ok", "relay": self.relay_id, **self.counts()}
            return _last_response(web.json_response(body))
        if request.path != "/":
            return _last_response(web.Response(status=404, text="Nothing here.\n"))
        socket = web.WebSocketResponse(
            timeout=self.limits.close_s,
            autoping=False,
            compress=False,
            max_msg_size=2 * self.limits.message_bytes,
        )
        if not socket.can_prepare(request).ok or self._closing:
            return _last_response(web.Response(status=426, text="This is an Idlewatt relay; it speaks websocket.\n"))
        await socket.prepare(request)
        connection = ServerConnection(self, socket, request)
        crowded = False
        if isinstance(handler, LimitedHandler):
            handler.settled()
            crowded = self._limiter.is_crowded(handler.group)
        self._connections.add(connection)
        try:
            await connection.run(crowded=crowded)
        finally:
            self._connections.discard(connection)
        return socket


def _last_response(response: web.Response) -> web.Response:
    """Mark a response as the last one of its connection, since a plain HTTP request keeps no connection open."""
    response.force_close()
    return response
