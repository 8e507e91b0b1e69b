"""The bus by which the relay processes of one network talk to each other.

A bus tells every relay which nodes are connected where, and carries circuit traffic to the relay of the other end.
``LocalBus`` joins relays inside one process. A bus on a broker implements the same protocol, with ``encode_bus`` and
``bus_reader`` as its format. Its messages come from relays of one operator, not from nodes; they are still bounded and
validated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from node.wire.codec import MAX_MESSAGE_BYTES, Reader
from node.wire.messages import CircuitId, Code, First, Frame, Key, Message, Offer, Reason, WindowBytes

RelayName = Annotated[str, Meta(min_length=1, max_length=64)]


class CircuitEnd(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One end of a circuit: the relay, its node, and the node's number for the circuit."""

    relay: RelayName
    node: Key
    circuit: CircuitId


class RelayUp(Message, frozen=True, tag="relay_up"):
    """A relay joined; the others answer with the nodes that are connected to them."""

    relay: RelayName


class RelayDown(Message, frozen=True, tag="relay_down"):
    """A relay left, and all its nodes with it."""

    relay: RelayName


class NodeUp(Message, frozen=True, tag="node_up"):
    """A node is connected to ``relay`` and lists these offers."""

    relay: RelayName
    node: Key
    offers: tuple[Offer, ...]


class NodeDown(Message, frozen=True, tag="node_down"):
    """A node is no longer connected to ``relay``."""

    relay: RelayName
    node: Key


class BusOpen(Message, frozen=True, tag="end_open"):
    """``source`` opens a circuit to ``node``; ``first`` is its first frame, or empty for none."""

    source: CircuitEnd
    node: Key
    window_bytes: WindowBytes
    first: First = b""


class BusAccept(Message, frozen=True, tag="end_accept"):
    """The circuit that ``to`` opened is accepted; ``source`` is its other end."""

    to: CircuitEnd
    source: CircuitEnd
    window_bytes: WindowBytes


class BusData(Message, frozen=True, tag="end_data"):
    """One frame for ``to``."""

    to: CircuitEnd
    frame: Frame


class BusCredit(Message, frozen=True, tag="end_credit"):
    """``to`` may send ``amount_bytes`` more."""

    to: CircuitEnd
    amount_bytes: WindowBytes


class BusClose(Message, frozen=True, tag="end_close"):
    """The circuit of ``to`` has ended."""

    to: CircuitEnd
    code: Code
    reason: Reason = ""


class BusCancel(Message, frozen=True, tag="end_cancel"):
    """``source`` ended the circuit that it was opening to ``node``; it doesn't know the other end's number yet."""

    node: Key
    source: CircuitEnd
    code: Code
    reason: Reason = ""


BroadcastMessage = RelayUp | RelayDown | NodeUp | NodeDown
DirectedMessage = BusOpen | BusAccept | BusData | BusCredit | BusClose | BusCancel
BusMessage = BroadcastMessage | DirectedMessage


def encode_bus(message: BusMessage) -> bytes:
    """Encode a bus message for a broker."""
    return _encoder.encode(message)


def bus_reader() -> Reader[BusMessage]:
    """A reader of what a broker delivers."""
    return Reader(BusMessage, MAX_MESSAGE_BYTES)  # type: ignore[arg-type]  # a union is a type to msgspec


_encoder: Final = msgspec.msgpack.Encoder()


class Bus(Protocol):
    """What a relay needs of a bus. Messages from one relay to another arrive in order."""

    def join(self, relay: str, deliver: Callable[[BusMessage], None]) -> None:
        """Deliver to ``relay`` from now on, always from the event loop, never inside ``send`` or ``broadcast``."""
        ...

    def leave(self, relay: str) -> None:
        """Deliver nothing more to ``relay``."""
        ...

    def send(self, relay: str, message: BusMessage) -> None:
        """Send to one relay; a relay that isn't there gets nothing."""
        ...

    def broadcast(self, sender: str, message: BusMessage) -> None:
        """Send to every relay but ``sender``."""
        ...


class LocalBus:
    """The bus of relays in one process and on one event loop."""

    def __init__(self) -> None:
        self._members: dict[str, Callable[[BusMessage], None]] = {}

    def join(self, relay: str, deliver: Callable[[BusMessage], None]) -> None:
        """See ``Bus.join``."""
        self._members[relay] = deliver

    def leave(self, relay: str) -> None:
        """See ``Bus.leave``."""
        self._members.pop(relay, None)

    def send(self, relay: str, message: BusMessage) -> None:
        """See ``Bus.send``."""
        if relay in self._members:
            asyncio.get_running_loop().call_soon(self._deliver, relay, message)

    def broadcast(self, sender: str, message: BusMessage) -> None:
        """See ``Bus.broadcast``."""
        for relay in self._members:
            if relay != sender:
                self.send(relay, message)

    def _deliver(self, relay: str, message: BusMessage) -> None:
        deliver = self._members.get(relay)
        if deliver is not None:
            deliver(message)
