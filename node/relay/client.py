"""The relay client: one outbound websocket that reconnects by itself; it lists offers and opens circuits to peers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import aiohttp
from nacl.signing import SigningKey

from chain.errors import UsageError
from chain.logs import get_logger
from chain.urls import shown_url
from node.relay.auth import node_id, node_key
from node.relay.backoff import jittered_backoff
from node.relay.circuit import Circuit, NodeId, RelayError
from node.relay.client_circuit import ClientCircuit
from node.relay.client_connection import ClientConnection, LostError
from node.relay.client_errors import CONNECT_LINES, ConnectionFailure, failure_of, parse_url
from node.relay.client_state import OfferListing, RelayState, StateTracker
from node.relay.relay_session import RelaySession
from node.wire import messages as m
from node.wire.codec import MAX_MESSAGE_BYTES
from node.wire.wire_error import WireError

__all__ = ["OfferListing", "RelayClient", "RelayState"]

log: Final = get_logger(__name__)

_CONNECT_S: Final = 10.0
_REQUEST_S: Final = 10.0
_CLOSE_S: Final = 2.0
_PING_S: Final = 15.0
_STEADY_S: Final = 10.0
"""Only a connection that lasted at least this long resets the backoff."""


class RelayClient:
    """A node's connection to one relay.

    It reconnects by itself with jittered backoff. If it is back within the relay's grace time it resumes its circuits.
    Then it lists its offers again.

    Args:
        url: The relay's address, ``ws://host:port`` or ``wss://…``.
        signing_key: The node's identity; ``None`` makes a throwaway one.
        on_state: Called on the event loop at each change of ``state``.
        incoming_limit: How many incoming circuits may wait for ``incoming``; more are refused.
        ping_timeout_s: How long a ping may stay unanswered before the connection counts as lost.
        connect_timeout_s: How long the connection may take, and then the handshake again.
        backoff: The wait in seconds before a retry, from the retry's number; by default it doubles, with jitter, up to
            half a minute.
    """

    def __init__(
        self,
        url: str,
        signing_key: SigningKey | None = None,
        *,
        on_state: Callable[[RelayState], None] | None = None,
        incoming_limit: int = 64,
        ping_timeout_s: float = _PING_S,
        connect_timeout_s: float = _CONNECT_S,
        backoff: Callable[[int], float] | None = None,
    ) -> None:
        self._url = parse_url(url)
        self._key = signing_key or SigningKey.generate()
        self._ping_timeout_s = ping_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._backoff = backoff or jittered_backoff()
        self._session = RelaySession(incoming_limit)
        self._tracker = StateTracker(on_state)
        self._offers: tuple[bytes, ...] = ()
        self._online = asyncio.Event()
        self._querying = asyncio.Lock()
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._leaving = False
        self._online_at_s = 0.0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def node_id(self) -> NodeId:
        """This node's identity at relays."""
        return node_id(bytes(self._key.verify_key))

    @property
    def url(self) -> str:
        """The relay's address, without credentials."""
        return shown_url(str(self._url))

    @property
    def state(self) -> RelayState:
        """How the connection is now."""
        return self._tracker.state

    @property
    def free_circuits(self) -> int:
        """How many more circuits the relay allows this node, incoming and outgoing together."""
        return self._session.free_circuits

    async def start(self) -> None:
        """Connect, and stay connected until ``close``.

        Raises:
            RelayError: If the relay can't be reached or refuses.
        """
        if self._task is not None:
            raise UsageError("This relay client was already started.")
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first), name="relay-client")
        try:
            await first
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Send what is queued, leave the relay and end every circuit; calling it twice does nothing."""
        self._leaving = True
        if self._connection is not None:
            self._connection.drained.clear()
            self._session.wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._connection.drained.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._end()

    async def publish(self, offers: Sequence[bytes]) -> None:
        """List these offers and no others, now and after each reconnect.

        It returns once the relay lists them. While offline it returns at once: they are listed after the reconnect.

        Args:
            offers: The encoded offers; they replace those that were listed before.

        Raises:
            RelayError: If they exceed the relay's limits, or the client is closed.
        """
        self._check_open()
        self._check_offers(offers)
        self._offers = tuple(offers)
        if self._online.is_set():
            # No answer means that the session ended: the next connection lists the offers.
            await self._answer(self._session.publish(self._offers))

    async def offers(self, limit: int = 1000, *, timeout_s: float = _REQUEST_S) -> list[OfferListing]:
        """Return the offers that the relay lists. They are not verified.

        Args:
            limit: How many at most.
            timeout_s: How long the relay may take for all pages together.

        Raises:
            RelayError: If the relay can't be asked in time.
        """
        listings: list[OfferListing] = []
        cursor = b""
        async with self._within(timeout_s, who="relay"), self._querying:
            while len(listings) < limit:
                await self._wait_online()
                page = await self._answer(
                    self._session.query(cursor, min(limit - len(listings), m.MAX_PAGE_OFFERS)), timeout_s=timeout_s
                )
                if not isinstance(page, m.Page):
                    continue
                listings += [OfferListing(node_id(listing.node), listing.offer) for listing in page.listings]
                if not page.cursor or page.cursor == cursor:
                    break
                cursor = page.cursor
        return listings[:limit]

    async def connect(self, node_id: NodeId, *, first: bytes = b"", timeout_s: float = 10.0) -> Circuit:
        """Open a circuit to a node.

        Args:
            node_id: The node to connect to.
            first: The circuit's first frame, sent together with the opening: up to 256 bytes, empty for none.
            timeout_s: How long the relay and the node may take together.

        Raises:
            RelayError: ``peer_unknown`` if no such node is connected to the relay; ``peer_refused`` or
                ``limit_circuits`` if the node doesn't take the circuit; ``peer_timeout`` if it doesn't answer;
                ``relay_unreachable`` if the relay doesn't answer; ``limit_frame`` if ``first`` is too long.
        """
        try:
            peer = node_key(node_id)
        except WireError as error:
            raise RelayError(error.message, code="peer_unknown") from None
        async with self._within(timeout_s, who="node"):
            while True:
                await self._wait_online()
                circuit = self._session.open(peer, first)
                await self._wait_opened(circuit)
                if circuit.opened.done() and not circuit.opened.cancelled():
                    return circuit
                code = circuit.ended[0] if circuit.ended else "relay_lost"
                if code == "relay_lost":
                    continue
                raise RelayError(
                    CONNECT_LINES.get(code, f"The node refused the circuit ({code})."),
                    code="peer_refused",
                    peer_code=code,
                    fix="Choose another provider." if code != "limit_circuits" else "Try again later.",
                )

    async def incoming(self) -> AsyncIterator[Circuit]:
        """Yield circuits that peers open to this node, until the client is closed."""
        session = self._session
        while not self._tracker.is_closed:
            while session.waiting:
                circuit = session.waiting.popleft()
                if circuit.ended is None:
                    circuit.accept()
                    yield circuit
            session.arrived.clear()
            if not self._tracker.is_closed:
                await session.arrived.wait()

    # -- the connection ------------------------------------------------------------

    async def _run(self, first: asyncio.Future[None]) -> None:
        """Keep the connection; return when a refusal is final or the first attempt fails."""
        try:
            await self._keep_connected(first)
        except Exception as error:
            log.exception("relay_client_failed", relay=self.url)
            if not first.done():
                first.set_exception(error)
            self._end(ConnectionFailure("failed", "The relay client failed; the log says why."))

    async def _keep_connected(self, first: asyncio.Future[None]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            loop, attempt = asyncio.get_running_loop(), 0
            while True:
                try:
                    await self._connect_once(http, first)
                except (LostError, WireError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    failure = failure_of(error)
                was_online = self._online.is_set()
                was_steady = was_online and loop.time() - self._online_at_s >= _STEADY_S
                attempt = 0 if was_steady else attempt + 1
                if not first.done():
                    first.set_exception(failure.error(self.url))
                    return
                self._go_offline(failure)
                if failure.is_final:
                    self._end(failure)
                    return
                if was_online and failure.code != "relay_unreachable":
                    # A coded error ended the session at the relay too: there is nothing to resume.
                    self._session.reset("relay_lost", failure.line)
                await asyncio.sleep(self._backoff(attempt))

    async def _connect_once(self, http: aiohttp.ClientSession, first: asyncio.Future[None]) -> None:
        """Connect, serve the connection until it is lost, and raise what ended it."""
        async with asyncio.timeout(self._connect_timeout_s):
            websocket = await http.ws_connect(
                self._url,
                max_msg_size=MAX_MESSAGE_BYTES + 1,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
            )
        connection = ClientConnection(
            websocket, self._session, ping_timeout_s=self._ping_timeout_s, on_pong=self._tracker.note_pong
        )
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                welcome = await connection.handshake(self._key)
            self._session.begin(welcome)
            self._go_online(connection)
            if not first.done():
                first.set_result(None)
            await connection.converse(welcome)
        finally:
            await connection.close(leaving=self._leaving)

    def _go_online(self, connection: ClientConnection) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._connection = connection
        welcome = self._session.welcome
        if self._offers and welcome is not None:
            fitting = [offer for offer in self._offers if len(offer) <= welcome.offer_bytes][: welcome.offers]
            if len(fitting) < len(self._offers):
                log.warning("offers_left_out", relay=self.url, listed=len(fitting), offers=len(self._offers))
            self._session.publish(tuple(fitting))
        self._online.set()
        self._online_at_s = asyncio.get_running_loop().time()
        self._tracker.enter("online", clock=connection.clock)

    def _go_offline(self, failure: ConnectionFailure) -> None:
        self._connection = None
        welcome = self._session.welcome
        if self._online.is_set() and welcome is not None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(
                welcome.grace_ms / 1000, self._session.reset, "relay_lost", "The relay was away for too long."
            )
        self._online.clear()
        self._tracker.enter("reconnecting", failure)

    def _end(self, failure: ConnectionFailure | None = None) -> None:
        """Close for good, because of a failure or because the owner wants it."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._online.clear()
        self._connection = None
        if not self._tracker.is_closed:
            self._tracker.enter("closed", failure)
        if failure is not None:
            self._session.reset("relay_lost", failure.line)
        else:
            self._session.reset("done", "The relay client was closed.")
        self._session.arrived.set()

    # -- waiting ------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _within(self, timeout_s: float, *, who: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            if self._online.is_set() and who == "relay":
                raise self._unreachable(f"no answer within {timeout_s:g} s") from None
            if self._online.is_set():
                line = f"The node didn't answer within {timeout_s:g} s."
                raise RelayError(line, code="peer_timeout", fix="Choose another provider.") from None
            raise self._offline_error() from None

    async def _wait_online(self) -> None:
        while not self._online.is_set():
            self._check_open()
            self._tracker.changed.clear()
            await self._tracker.changed.wait()

    async def _wait_opened(self, circuit: ClientCircuit) -> None:
        """Wait until the circuit is open or has ended; close it if the caller is cancelled meanwhile."""
        try:
            await asyncio.wait([circuit.opened])
        except asyncio.CancelledError:
            await circuit.close("done")
            raise

    async def _answer(
        self, answer: asyncio.Future[m.Published | m.Page], *, timeout_s: float = _REQUEST_S
    ) -> m.Published | m.Page | None:
        """Wait for an answer; ``None`` if the session ended before."""
        done, _pending = await asyncio.wait([answer], timeout=timeout_s)
        if not done:
            answer.cancel()
            raise self._unreachable("no answer in time")
        return None if answer.cancelled() else answer.result()

    def _check_open(self) -> None:
        if self._tracker.is_closed:
            if self.state.last_failure is not None:
                raise self.state.last_failure.error(self.url)
            raise RelayError("The relay client is closed.")

    def _check_offers(self, offers: Sequence[bytes]) -> None:
        welcome = self._session.welcome
        most = welcome.offers if welcome else m.MAX_OFFERS_PER_NODE
        largest_bytes = welcome.offer_bytes if welcome else m.MAX_OFFER_BYTES
        if len(offers) > most:
            raise RelayError(f"The relay lists {most} offers of a node, not {len(offers)}.", code="limit_offers")
        if any(not 0 < len(offer) <= largest_bytes for offer in offers):
            raise RelayError(f"An offer has 1 to {largest_bytes} bytes.", code="limit_offer_bytes")

    def _offline_error(self) -> RelayError:
        return self.state.last_failure.error(self.url) if self.state.last_failure else self._unreachable("")

    def _unreachable(self, line: str) -> RelayError:
        return ConnectionFailure("relay_unreachable", line).error(self.url)
