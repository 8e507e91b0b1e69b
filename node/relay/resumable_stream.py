"""One side of the message stream between a node and a relay, without I/O: nothing lost, nothing twice, fair order.

The stream outlives its websocket. Counted messages are kept until the other side acknowledges them. When a new
websocket resumes the session, the unacknowledged ones are sent again, in order. Circuits take turns (round robin), so a
circuit with a long queue delays another one by one frame.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from node.wire import messages as m
from node.wire.codec import encode
from node.wire.wire_error import WireError

_MESSAGE_OVERHEAD_BYTES: Final = 96
"""What a kept message costs besides its own bytes, so that a flood of tiny messages counts too."""
_ACK_EVERY_BYTES: Final = 32_768
_ACK_EVERY_MESSAGES: Final = 16


class _CircuitQueue:
    """What one circuit has waiting."""

    __slots__ = ("credit_bytes", "queue")

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque()
        self.credit_bytes = 0


class ResumableStream:
    """Both directions of one session: the messages to send, and the count of those that arrived.

    Both peers hold one; see ``node.wire.messages`` for which messages are counted.
    """

    def __init__(self) -> None:
        self._urgent: dict[type[m.Message], m.Message] = {}
        self._control: deque[bytes] = deque()
        self._circuits: dict[int, _CircuitQueue] = {}
        self._unacknowledged: deque[bytes] = deque()
        self._resend = 0
        self._acknowledged = 0
        self._received_since_ack = 0
        self._received_bytes_since_ack = 0
        self.received = 0
        """How many counted messages of the other side have arrived."""
        self.buffered_bytes = 0
        """What the waiting and the unacknowledged messages take, with an overhead for each."""

    @property
    def control_waiting(self) -> int:
        """How many control messages (those of no circuit) wait to be sent."""
        return len(self._control)

    def put(self, message: m.Message) -> None:
        """Queue a counted message that belongs to no circuit, before those of all circuits."""
        self._control.append(self._account(encode(message)))

    def put_on_circuit(self, circuit: int, message: m.Message) -> None:
        """Queue a counted message of a circuit, after those that this circuit already has waiting."""
        self._queue_of(circuit).queue.append(self._account(encode(message)))

    def put_credit(self, circuit: int, amount_bytes: int) -> None:
        """Queue a credit grant. Grants that still wait are added up, so they take the room of one.

        Args:
            circuit: Its number on this connection.
            amount_bytes: How much more the other side may send.
        """
        circuit_queue = self._queue_of(circuit)
        if not circuit_queue.credit_bytes:
            self.buffered_bytes += _MESSAGE_OVERHEAD_BYTES
        circuit_queue.credit_bytes += amount_bytes

    def put_urgent(self, message: m.Message) -> None:
        """Queue an uncounted message, before everything else; a newer one of the same type replaces it."""
        self._urgent[type(message)] = message

    def drop_circuit(self, circuit: int) -> None:
        """Drop what a circuit has waiting: nobody will read it."""
        circuit_queue = self._circuits.pop(circuit, None)
        if circuit_queue is not None:
            self.buffered_bytes -= sum(len(data) + _MESSAGE_OVERHEAD_BYTES for data in circuit_queue.queue)
            if circuit_queue.credit_bytes:
                self.buffered_bytes -= _MESSAGE_OVERHEAD_BYTES

    def next(self) -> bytes | None:
        """Return the next encoded message to send, or ``None`` when nothing waits."""
        if self._urgent:
            return encode(self._urgent.pop(next(iter(self._urgent))))
        if self._resend:
            self._resend -= 1
            return self._unacknowledged[-1 - self._resend]
        data = self._control.popleft() if self._control else self._next_on_circuits()
        if data is not None:
            self._unacknowledged.append(data)
        return data

    def note_received(self, size_bytes: int) -> None:
        """Count one message that arrived, and queue an ``Ack`` when one is due.

        Args:
            size_bytes: Its encoded size.
        """
        self.received += 1
        self._received_since_ack += 1
        self._received_bytes_since_ack += size_bytes
        if self._received_since_ack >= _ACK_EVERY_MESSAGES or self._received_bytes_since_ack >= _ACK_EVERY_BYTES:
            self._received_since_ack = self._received_bytes_since_ack = 0
            self.put_urgent(m.Ack(self.received))

    def acknowledge(self, received: int) -> None:
        """Drop the messages that the other side says it received.

        Args:
            received: How many counted messages it has received in all.

        Raises:
            WireError: If it acknowledges what was never sent, or takes an acknowledgement back.
        """
        arrived = received - self._acknowledged
        if not 0 <= arrived <= len(self._unacknowledged) - self._resend:
            raise WireError("An acknowledgement doesn't match what was sent.")
        for _ in range(arrived):
            self.buffered_bytes -= len(self._unacknowledged.popleft()) + _MESSAGE_OVERHEAD_BYTES
        self._acknowledged = received

    def resume(self, received: int) -> None:
        """Continue on a new connection: every message after the first ``received`` is sent again.

        Args:
            received: How many counted messages the other side has received in all.

        Raises:
            WireError: If ``received`` doesn't match what was sent.
        """
        self._resend = 0
        self._urgent.clear()
        self.acknowledge(received)
        self._resend = len(self._unacknowledged)

    def _next_on_circuits(self) -> bytes | None:
        if not self._circuits:
            return None
        circuit = next(iter(self._circuits))
        circuit_queue = self._circuits.pop(circuit)
        if circuit_queue.credit_bytes:
            amount, circuit_queue.credit_bytes = circuit_queue.credit_bytes, 0
            data = encode(m.Credit(circuit, min(amount, m.MAX_WINDOW_BYTES)))
            self.buffered_bytes += len(data)
        else:
            data = circuit_queue.queue.popleft()
        if circuit_queue.queue:
            self._circuits[circuit] = circuit_queue
        return data

    def _queue_of(self, circuit: int) -> _CircuitQueue:
        return self._circuits.setdefault(circuit, _CircuitQueue())

    def _account(self, data: bytes) -> bytes:
        self.buffered_bytes += len(data) + _MESSAGE_OVERHEAD_BYTES
        return data
