"""Which nodes a relay has, and the circuits between them: messages in, actions out; no socket, no clock, no task.

A circuit has two *ends*. Each is kept by the relay that its node is connected to. The ends talk through the bus, or
directly where both are at this relay. Each end counts two credits: what its node may still send, and what may still
arrive for its node. Every rule is checked at the end of the node that could break it, so no relay has to trust a node
of another relay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chain.errors import ErrorCode
from node.relay import bus as b
from node.relay.auth import node_id
from node.relay.bus import CircuitEnd
from node.relay.directory import Directory
from node.relay.limits import RelayLimits
from node.values.text import plain
from node.wire import messages as m
from node.wire.wire_error import WireError

_REASON_CHARS = 240


@dataclass(frozen=True, slots=True)
class SendToNode:
    """Send ``message`` to a node of this relay."""

    node: bytes
    message: m.Message


@dataclass(frozen=True, slots=True)
class DropCircuit:
    """Drop what waits for a node on a circuit that it closed."""

    node: bytes
    circuit: int


@dataclass(frozen=True, slots=True)
class SendToRelay:
    """Send ``message`` to another relay."""

    relay: str
    message: b.BusMessage


@dataclass(frozen=True, slots=True)
class SendToAllRelays:
    """Send ``message`` to every other relay."""

    message: b.BusMessage


@dataclass(frozen=True, slots=True)
class EndSession:
    """End a node's session with a coded error."""

    node: bytes
    code: ErrorCode
    reason: str


Action = SendToNode | DropCircuit | SendToRelay | SendToAllRelays | EndSession


@dataclass(slots=True)
class _EndState:
    """This relay's end of one circuit."""

    state: Literal["opening", "offered", "open"]
    peer_relay: str
    peer_node: bytes
    peer: CircuitEnd | None = None
    send_credit_bytes: int = 0
    receive_credit_bytes: int = 0
    first_cost_bytes: int = 0
    """What the frame that came with the opening costs of the first window of credit."""


@dataclass(slots=True)
class _Node:
    """A node whose session this relay holds."""

    ends: dict[int, _EndState] = field(default_factory=dict)
    last_opened: int = -1
    last_offered: int = 0


class CircuitRouter:
    """The nodes and circuits of one relay, as a state machine without I/O.

    Args:
        relay: This relay's name on the bus.
        limits: What nodes may do.
    """

    def __init__(self, relay: str, limits: RelayLimits) -> None:
        self._relay = relay
        self._limits = limits
        self._nodes: dict[bytes, _Node] = {}
        self.directory = Directory()

    @property
    def nodes(self) -> int:
        """How many sessions this relay holds."""
        return len(self._nodes)

    @property
    def circuits(self) -> int:
        """How many circuit ends this relay holds."""
        return sum(len(node.ends) for node in self._nodes.values())

    def circuits_of(self, node: bytes) -> int:
        """How many circuits a node has."""
        held = self._nodes.get(node)
        return len(held.ends) if held else 0

    def add(self, node: bytes) -> None:
        """Start a session.

        Raises:
            WireError: With code ``limit_nodes`` if the relay is full.
        """
        if len(self._nodes) >= self._limits.nodes:
            raise WireError("This relay is full.", code="limit_nodes", fix="Try another relay.")
        self._nodes[node] = _Node()

    def attach(self, node: bytes) -> list[Action]:
        """Note that a session's node is connected: others can find it from now on."""
        self.directory.put(node, self._relay, ())
        return [SendToAllRelays(b.NodeUp(self._relay, node, ()))]

    def detach(self, node: bytes) -> list[Action]:
        """Note that a session's node lost its connection: its offers go, its circuits wait for it."""
        if self.directory.remove(node, self._relay):
            return [SendToAllRelays(b.NodeDown(self._relay, node))]
        return []

    def remove(self, node: bytes, code: str = "peer_gone", reason: str = "") -> list[Action]:
        """End a session and all its circuits."""
        actions = self.detach(node)
        gone = self._nodes.pop(node, None)
        if gone is not None:
            for circuit, end in gone.ends.items():
                actions += self._tell_peer_closed(node, circuit, end, code, reason)
        return actions

    def on_message(self, node: bytes, message: m.NodeMessage) -> list[Action]:
        """Take one counted message from a node.

        Raises:
            WireError: If the node broke the protocol or crossed a limit; its session must end with that code.
        """
        match message:
            case m.Data():
                return self._on_data(node, message)
            case m.Credit():
                return self._on_credit(node, message)
            case m.Open():
                return self._on_open(node, message)
            case m.Accept():
                return self._on_accept(node, message)
            case m.Close():
                return self._on_close(node, message)
            case m.Publish():
                return self._on_publish(node, message)
            case m.Query():
                listings, cursor = self.directory.page(message.cursor, message.limit, self._limits.page_bytes)
                return [SendToNode(node, m.Page(message.request, listings, cursor))]
            case _:
                raise WireError("A message isn't allowed here.")

    def on_bus(self, message: b.BusMessage) -> list[Action]:
        """Take one message from another relay."""
        match message:
            case b.RelayUp():
                return [
                    SendToRelay(message.relay, b.NodeUp(self._relay, node, offers))
                    for node, offers in self.directory.of_relay(self._relay)
                ]
            case b.RelayDown():
                return self._on_relay_down(message.relay)
            case b.NodeUp():
                self.directory.put(message.node, message.relay, message.offers)
                if message.node in self._nodes:
                    return [EndSession(message.node, "replaced", "This identity connected to another relay.")]
                return []
            case b.NodeDown():
                self.directory.remove(message.node, message.relay)
                return []
            case _:
                return self._on_directed(message)

    # -- from nodes ------------------------------------------------------------------------------------------------

    def _on_publish(self, node: bytes, message: m.Publish) -> list[Action]:
        if len(message.offers) > self._limits.offers_per_node:
            raise WireError(f"A node lists {self._limits.offers_per_node} offers at most.", code="limit_offers")
        if any(len(offer) > self._limits.offer_bytes for offer in message.offers):
            raise WireError(f"An offer has {self._limits.offer_bytes} bytes at most.", code="limit_offer_bytes")
        self.directory.put(node, self._relay, message.offers)
        return [
            SendToAllRelays(b.NodeUp(self._relay, node, message.offers)),
            SendToNode(node, m.Published(message.request)),
        ]

    def _on_open(self, node: bytes, message: m.Open) -> list[Action]:
        me = self._nodes[node]
        if message.circuit % 2 == 0 or message.circuit <= me.last_opened:
            raise WireError("A node numbers its circuits with rising odd numbers.", code="circuit_reused")
        if len(me.ends) >= self._limits.circuits_per_node:
            raise WireError(f"A node has {self._limits.circuits_per_node} circuits at most.", code="limit_circuits")
        self._check_window(message.window_bytes)
        self._check_frame(message.first)
        me.last_opened = message.circuit
        entry = self.directory.find(message.peer)
        if entry is None or message.peer == node:
            return [
                SendToNode(node, m.Close(message.circuit, "peer_unknown", "No such node is connected to this relay."))
            ]
        me.ends[message.circuit] = _EndState(
            "opening",
            entry.relay,
            message.peer,
            receive_credit_bytes=message.window_bytes,
            first_cost_bytes=m.first_cost_bytes(message.first),
        )
        source = CircuitEnd(self._relay, node, message.circuit)
        return self._send(entry.relay, b.BusOpen(source, message.peer, message.window_bytes, message.first))

    def _on_accept(self, node: bytes, message: m.Accept) -> list[Action]:
        end = self._end_of(node, message.circuit)
        if end is None:
            return []
        if end.state != "offered" or end.peer is None:
            raise WireError("Only an incoming circuit can be accepted, once.")
        self._check_window(message.window_bytes)
        end.state = "open"
        end.receive_credit_bytes = message.window_bytes - end.first_cost_bytes
        source = CircuitEnd(self._relay, node, message.circuit)
        return self._send(end.peer_relay, b.BusAccept(end.peer, source, message.window_bytes))

    def _on_data(self, node: bytes, message: m.Data) -> list[Action]:
        self._check_frame(message.frame)
        end = self._end_of(node, message.circuit)
        if end is None:
            return []
        if end.state != "open" or end.peer is None:
            raise WireError("A frame came before its circuit was open.")
        end.send_credit_bytes -= len(message.frame) + m.FRAME_COST_BYTES
        if end.send_credit_bytes < 0:
            raise WireError("A frame exceeds the credit of its circuit.", code="credit")
        return self._send(end.peer_relay, b.BusData(end.peer, message.frame))

    def _on_credit(self, node: bytes, message: m.Credit) -> list[Action]:
        end = self._end_of(node, message.circuit)
        if end is None:
            return []
        if end.state != "open" or end.peer is None:
            raise WireError("Credit came before its circuit was open.")
        end.receive_credit_bytes += message.amount_bytes
        if end.receive_credit_bytes > self._limits.window_bytes:
            raise WireError(f"A circuit's credit is {self._limits.window_bytes} bytes at most.", code="credit")
        return self._send(end.peer_relay, b.BusCredit(end.peer, message.amount_bytes))

    def _on_close(self, node: bytes, message: m.Close) -> list[Action]:
        end = self._end_of(node, message.circuit)
        if end is None:
            return []
        del self._nodes[node].ends[message.circuit]
        actions: list[Action] = [DropCircuit(node, message.circuit)]
        code = "peer_refused" if end.state == "offered" and message.code == "done" else message.code
        return actions + self._tell_peer_closed(node, message.circuit, end, code, plain(message.reason, _REASON_CHARS))

    # -- from other ends -------------------------------------------------------------------------------------------

    def _on_directed(self, message: b.DirectedMessage) -> list[Action]:
        if isinstance(message, b.BusOpen):
            return self._on_end_open(message)
        if isinstance(message, b.BusCancel):
            return self._on_end_cancel(message)
        node, circuit = message.to.node, message.to.circuit
        held = self._nodes.get(node)
        end = held.ends.get(circuit) if held else None
        if held is None or end is None:
            return self._answer_lost_end(message)
        match message:
            case b.BusData():
                end.receive_credit_bytes -= len(message.frame) + m.FRAME_COST_BYTES
                return [SendToNode(node, m.Data(circuit, message.frame))]
            case b.BusCredit():
                end.send_credit_bytes += message.amount_bytes
                return [SendToNode(node, m.Credit(circuit, message.amount_bytes))]
            case b.BusAccept():
                end.state, end.peer = "open", message.source
                end.send_credit_bytes = message.window_bytes - end.first_cost_bytes
                return [SendToNode(node, m.Accepted(circuit, message.window_bytes))]
            case b.BusClose():
                del held.ends[circuit]
                return [SendToNode(node, m.Close(circuit, message.code, message.reason))]

    def _on_end_open(self, message: b.BusOpen) -> list[Action]:
        held = self._nodes.get(message.node)
        if held is None:
            return self._send(
                message.source.relay, b.BusClose(message.source, "peer_unknown", "The node has just gone.")
            )
        if len(held.ends) >= self._limits.circuits_per_node:
            refusal = b.BusClose(message.source, "limit_circuits", "The node has no free circuit.")
            return self._send(message.source.relay, refusal)
        held.last_offered += 2
        held.ends[held.last_offered] = _EndState(
            "offered",
            message.source.relay,
            message.source.node,
            message.source,
            message.window_bytes,
            first_cost_bytes=m.first_cost_bytes(message.first),
        )
        incoming = m.Incoming(held.last_offered, message.source.node, message.window_bytes, message.first)
        return [SendToNode(message.node, incoming)]

    def _on_end_cancel(self, message: b.BusCancel) -> list[Action]:
        held = self._nodes.get(message.node)
        ends = held.ends if held else {}
        for circuit, end in ends.items():
            if end.peer == message.source:
                del ends[circuit]
                return [SendToNode(message.node, m.Close(circuit, message.code, message.reason))]
        return []

    def _answer_lost_end(self, message: b.BusAccept | b.BusData | b.BusCredit | b.BusClose) -> list[Action]:
        if isinstance(message, b.BusAccept):
            return self._send(message.source.relay, b.BusClose(message.source, "peer_gone", "The opener has gone."))
        return []

    def _on_relay_down(self, relay: str) -> list[Action]:
        for node, _offers in self.directory.of_relay(relay):
            self.directory.remove(node, relay)
        actions: list[Action] = []
        for node, held in self._nodes.items():
            for circuit in [circuit for circuit, end in held.ends.items() if end.peer_relay == relay]:
                del held.ends[circuit]
                actions.append(SendToNode(node, m.Close(circuit, "peer_gone", "The peer's relay has gone.")))
        return actions

    # -- shared ----------------------------------------------------------------------------------------------------

    def _end_of(self, node: bytes, circuit: int) -> _EndState | None:
        """The end a node names; ``None`` if it has ended, which the node may not know yet."""
        me = self._nodes[node]
        end = me.ends.get(circuit)
        if end is None and circuit > (me.last_opened if circuit % 2 else me.last_offered):
            raise WireError(f"Circuit {circuit} of {node_id(node)[:8]} never was.", code="circuit_unknown")
        return end

    def _check_frame(self, frame: bytes) -> None:
        if len(frame) > self._limits.frame_bytes:
            raise WireError(f"A frame has {self._limits.frame_bytes} bytes at most.", code="limit_frame")

    def _check_window(self, window_bytes: int) -> None:
        if not self._limits.least_window_bytes <= window_bytes <= self._limits.window_bytes:
            raise WireError(
                f"A window has {self._limits.least_window_bytes} to {self._limits.window_bytes} bytes.", code="credit"
            )

    def _tell_peer_closed(self, node: bytes, circuit: int, end: _EndState, code: str, reason: str) -> list[Action]:
        if end.peer is None:
            return self._send(
                end.peer_relay, b.BusCancel(end.peer_node, CircuitEnd(self._relay, node, circuit), code, reason)
            )
        return self._send(end.peer_relay, b.BusClose(end.peer, code, reason))

    def _send(self, relay: str, message: b.DirectedMessage) -> list[Action]:
        return self._on_directed(message) if relay == self._relay else [SendToRelay(relay, message)]
