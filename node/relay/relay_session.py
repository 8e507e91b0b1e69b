"""A relay client's session: its message stream, circuits and requests. No socket; all calls are synchronous."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from node.relay.auth import node_id
from node.relay.circuit import RelayError
from node.relay.client_circuit import ClientCircuit
from node.relay.resumable_stream import ResumableStream
from node.wire import messages as m
from node.wire.wire_error import WireError

_PENDING_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""When so much waits to be sent to the relay, circuits send no more."""
_DEFAULT_FRAME_BYTES: Final = 65_536
_DEFAULT_WINDOW_BYTES: Final = 262_144


class RelaySession:
    """A client's session at a relay; it outlives a lost websocket.

    Args:
        incoming_limit: How many incoming circuits may wait to be accepted; more are refused.
    """

    def __init__(self, incoming_limit: int) -> None:
        self._incoming_limit = incoming_limit
        self._circuits: dict[int, ClientCircuit] = {}
        self._requests: dict[int, asyncio.Future[m.Published | m.Page]] = {}
        self._next_request = 1
        self._short_of_room = False
        self.stream = ResumableStream()
        self.wake = asyncio.Event()
        """Set when the stream has something to send."""
        self.welcome: m.Welcome | None = None
        self.waiting: deque[ClientCircuit] = deque()
        """Incoming circuits that nobody has accepted yet."""
        self.arrived = asyncio.Event()
        """Set when a circuit came in, or the client closed."""
        self._start()

    def _start(self) -> None:
        self.stream = ResumableStream()
        self._next_circuit = 1
        self._last_incoming = 0

    # -- what circuits need (``CircuitHost``) --------------------------------------------------------------------------

    @property
    def window_bytes(self) -> int:
        """How many bytes a circuit may receive that its reader hasn't read yet."""
        return self.welcome.window_bytes if self.welcome else _DEFAULT_WINDOW_BYTES

    @property
    def frame_bytes(self) -> int:
        """The relay's frame limit."""
        return self.welcome.frame_bytes if self.welcome else _DEFAULT_FRAME_BYTES

    @property
    def has_room(self) -> bool:
        """Whether more may be queued for the relay now."""
        self._short_of_room = self.stream.buffered_bytes >= _PENDING_LIMIT_BYTES
        return not self._short_of_room

    def put_on_circuit(self, circuit: int, message: m.Message) -> None:
        """Queue a message of a circuit."""
        self.stream.put_on_circuit(circuit, message)
        self.wake.set()

    def put_credit(self, circuit: int, amount_bytes: int) -> None:
        """Queue a credit grant."""
        self.stream.put_credit(circuit, amount_bytes)
        self.wake.set()

    def forget(self, circuit: int) -> None:
        """Note that a circuit has ended."""
        self._circuits.pop(circuit, None)

    # -- what the client needs -----------------------------------------------------------------------------------------

    @property
    def free_circuits(self) -> int:
        """How many more circuits the relay allows; none before its ``Welcome``."""
        return 0 if self.welcome is None else max(0, self.welcome.circuits - len(self._circuits))

    def open(self, peer: bytes, first: bytes = b"") -> ClientCircuit:
        """Ask for a circuit.

        Args:
            peer: The Ed25519 public key of the node to connect to, 32 bytes.
            first: The circuit's first frame, sent together with the opening; empty for none.

        Raises:
            RelayError: With code ``limit_circuits`` if this node has as many as the relay allows, ``limit_frame`` if
                the frame is too long.
        """
        most_bytes = min(m.MAX_FIRST_BYTES, self.frame_bytes)
        if len(first) > most_bytes:
            raise RelayError(f"A first frame has {most_bytes} bytes at most.", code="limit_frame")
        if self.welcome is not None and len(self._circuits) >= self.welcome.circuits:
            raise RelayError(
                f"This node already has {len(self._circuits)} circuits, as many as the relay allows.",
                code="limit_circuits",
                fix="End one first.",
            )
        number = self._next_circuit
        self._next_circuit += 2
        circuit = self._circuits[number] = ClientCircuit(self, number, node_id(peer), first=first)
        self.put_on_circuit(number, m.Open(number, peer, self.window_bytes, first))
        return circuit

    def publish(self, offers: tuple[bytes, ...]) -> asyncio.Future[m.Published | m.Page]:
        """Ask the relay to list these offers of this node and no others; returns the future answer."""
        number, answer = self._request()
        self.stream.put(m.Publish(number, offers))
        self.wake.set()
        return answer

    def query(self, cursor: bytes, limit: int) -> asyncio.Future[m.Published | m.Page]:
        """Ask for a page of offers; returns the future answer.

        Args:
            cursor: Where the page begins: the last page's cursor, or empty for the first page.
            limit: The most offers in it.
        """
        number, answer = self._request()
        self.stream.put(m.Query(number, cursor, limit))
        self.wake.set()
        return answer

    def begin(self, welcome: m.Welcome) -> None:
        """Go on with the session that the relay resumed, or begin a new one.

        Raises:
            WireError: If the relay's count of received messages is impossible.
        """
        if welcome.resumed:
            self.stream.resume(welcome.received)
        else:
            self.reset("relay_lost", "The relay no longer knew this session.")
        self.welcome = welcome
        self.wake.set()

    def reset(self, code: str, reason: str) -> None:
        """End the session with its circuits and requests, and begin a new one.

        Args:
            code: Why, as a circuit's closing code.
            reason: The same as one line for a person.
        """
        for circuit in list(self._circuits.values()):
            circuit.end(code, reason)
        self._circuits.clear()
        self.waiting.clear()
        requests, self._requests = self._requests, {}
        for answer in requests.values():
            answer.cancel()
        self.welcome = None
        self._start()

    def on_message(self, message: m.RelayMessage, size_bytes: int) -> None:
        """Handle a message of the relay. The connection handles ``Failure`` and the rest of ``Pong``.

        Raises:
            WireError: If the relay broke the protocol.
        """
        if isinstance(message, m.Ack | m.Pong):
            self.stream.acknowledge(message.received)
            if self._short_of_room and self.has_room:
                for circuit in self._circuits.values():
                    circuit.on_room()
            return
        self.stream.note_received(size_bytes)
        self.wake.set()
        match message:
            case m.Published() | m.Page():
                answer = self._requests.pop(message.request, None)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case m.Incoming():
                self._on_incoming(message)
            case m.Data() | m.Credit() | m.Accepted() | m.Close():
                self._on_circuit(message)
            case _:
                raise WireError("The relay sent a message that isn't allowed here.")

    def _on_incoming(self, message: m.Incoming) -> None:
        if message.circuit % 2 or message.circuit <= self._last_incoming:
            raise WireError("The relay numbers circuits out of order.")
        self._last_incoming = message.circuit
        while self.waiting and self.waiting[0].ended:
            self.waiting.popleft()
        if len(self.waiting) >= self._incoming_limit:
            self.put_on_circuit(message.circuit, m.Close(message.circuit, "peer_refused", "Too many circuits wait."))
            return
        circuit = ClientCircuit(self, message.circuit, node_id(message.peer), message.window_bytes)
        if message.first:
            circuit.on_data(message.first)
        self._circuits[message.circuit] = circuit
        self.waiting.append(circuit)
        self.arrived.set()

    def _on_circuit(self, message: m.Data | m.Credit | m.Accepted | m.Close) -> None:
        circuit = self._circuits.get(message.circuit)
        if circuit is None:
            newest = self._last_incoming if message.circuit % 2 == 0 else self._next_circuit - 2
            if message.circuit > newest:
                raise WireError("The relay names a circuit that never was.", code="circuit_unknown")
            return
        match message:
            case m.Data():
                circuit.on_data(message.frame)
            case m.Credit():
                circuit.on_credit(message.amount_bytes)
            case m.Accepted():
                circuit.on_accepted(message.window_bytes)
            case m.Close():
                self.stream.drop_circuit(message.circuit)
                circuit.end(message.code, message.reason)

    def _request(self) -> tuple[int, asyncio.Future[m.Published | m.Page]]:
        number = self._next_request
        self._next_request += 1
        answer: asyncio.Future[m.Published | m.Page] = asyncio.get_running_loop().create_future()
        self._requests[number] = answer
        answer.add_done_callback(lambda _done: self._requests.pop(number, None))
        return number, answer
