"""One side of a node's connection to a relay, as a sans-I/O value: fair order, nothing lost, nothing twice.

A link outlives its websocket. Counted messages are kept until the other side says that they arrived, and are sent
again, in order, when a new websocket resumes the session. Between circuits the turn goes round robin, so that a
circuit with much to say delays another by one frame.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from node.wire import messages as m
from node.wire.codec import encode
from node.wire.errors import WireError

_KEPT_OVERHEAD_BYTES: Final = 96
"""What a kept message costs besides its own bytes; it makes floods of tiny messages count."""
_ACK_EVERY_BYTES: Final = 32_768
_ACK_EVERY_MESSAGES: Final = 16


class _Lane:
    """What one circuit has waiting."""

    __slots__ = ("credit_bytes", "queue")

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque()
        self.credit_bytes = 0


class Link:
    """Both directions of one session: what is to be sent, and how much has arrived."""

    def __init__(self) -> None:
        self._urgent: dict[type[m.Message], m.Message] = {}
        self._control: deque[bytes] = deque()
        self._lanes: dict[int, _Lane] = {}
        self._kept: deque[bytes] = deque()
        self._resend = 0
        self._acknowledged = 0
        self._received_since_ack = 0
        self._received_bytes_since_ack = 0
        self.received = 0
        """How many counted messages of the other side have arrived."""
        self.buffered_bytes = 0
        """What waiting and unacknowledged messages weigh."""

    @property
    def queries_waiting(self) -> int:
        """How many control messages wait to be sent."""
        return len(self._control)

    def put(self, message: m.Message) -> None:
        """Queue a counted message that belongs to no circuit, ahead of all circuits."""
        self._control.append(self._weigh(encode(message)))

    def put_on_circuit(self, circuit: int, message: m.Message) -> None:
        """Queue a counted message of a circuit, behind what that circuit has waiting."""
        self._lane(circuit).queue.append(self._weigh(encode(message)))

    def put_credit(self, circuit: int, amount_bytes: int) -> None:
        """Queue a credit grant; grants that wait are added up, so that they take no more room than one."""
        lane = self._lane(circuit)
        if not lane.credit_bytes:
            self.buffered_bytes += _KEPT_OVERHEAD_BYTES
        lane.credit_bytes += amount_bytes

    def put_urgent(self, message: m.Message) -> None:
        """Queue an uncounted message, ahead of everything; a newer one of its type replaces it."""
        self._urgent[type(message)] = message

    def drop_circuit(self, circuit: int) -> None:
        """Forget what a circuit has waiting: nobody will read it."""
        lane = self._lanes.pop(circuit, None)
        if lane is not None:
            self.buffered_bytes -= sum(len(data) + _KEPT_OVERHEAD_BYTES for data in lane.queue)
            if lane.credit_bytes:
                self.buffered_bytes -= _KEPT_OVERHEAD_BYTES

    def next(self) -> bytes | None:
        """Return the next message to send, or ``None`` when nothing waits."""
        if self._urgent:
            return encode(self._urgent.pop(next(iter(self._urgent))))
        if self._resend:
            self._resend -= 1
            return self._kept[-1 - self._resend]
        data = self._control.popleft() if self._control else self._next_on_circuits()
        if data is not None:
            self._kept.append(data)
        return data

    def note_received(self, size_bytes: int) -> None:
        """Count one counted message that arrived, and queue an ``Ack`` when one is due."""
        self.received += 1
        self._received_since_ack += 1
        self._received_bytes_since_ack += size_bytes
        if self._received_since_ack >= _ACK_EVERY_MESSAGES or self._received_bytes_since_ack >= _ACK_EVERY_BYTES:
            self._received_since_ack = self._received_bytes_since_ack = 0
            self.put_urgent(m.Ack(self.received))

    def acknowledge(self, received: int) -> None:
        """Forget the messages that the other side says have arrived.

        Raises:
            WireError: If it acknowledges what was never sent, or takes an acknowledgement back.
        """
        arrived = received - self._acknowledged
        if not 0 <= arrived <= len(self._kept) - self._resend:
            raise WireError("An acknowledgement doesn't match what was sent.")
        for _ in range(arrived):
            self.buffered_bytes -= len(self._kept.popleft()) + _KEPT_OVERHEAD_BYTES
        self._acknowledged = received

    def resume(self, received: int) -> None:
        """Continue on a new connection: everything after the other side's ``received`` is sent again.

        Raises:
            WireError: If ``received`` doesn't match what was sent.
        """
        self._resend = 0
        self._urgent.clear()
        self.acknowledge(received)
        self._resend = len(self._kept)

    def _next_on_circuits(self) -> bytes | None:
        if not self._lanes:
            return None
        circuit = next(iter(self._lanes))
        lane = self._lanes.pop(circuit)
        if lane.credit_bytes:
            amount, lane.credit_bytes = lane.credit_bytes, 0
            data = encode(m.Credit(circuit, min(amount, m.MAX_WINDOW_BYTES)))
            self.buffered_bytes += len(data)
        else:
            data = lane.queue.popleft()
        if lane.queue:
            self._lanes[circuit] = lane
        return data

    def _lane(self, circuit: int) -> _Lane:
        return self._lanes.setdefault(circuit, _Lane())

    def _weigh(self, data: bytes) -> bytes:
        self.buffered_bytes += len(data) + _KEPT_OVERHEAD_BYTES
        return data
