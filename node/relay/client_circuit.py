"""A client's end of one circuit: frames in order, and flow control by credit in both directions."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import Final, Protocol

from node.relay.circuit import CircuitClosedError, NodeId, RelayError
from node.values.text import plain
from node.wire import messages as m
from node.wire.wire_error import WireError

_REASON_CHARS: Final = 240
_CODE: Final = re.compile(m.CODE_PATTERN)
_LINES: Final = {
    "done": "The peer ended the circuit.",
    "peer_gone": "The peer has gone.",
    "peer_unknown": "The peer isn't connected to this relay.",
    "peer_refused": "The peer refused the circuit.",
    "relay_lost": "The connection to the relay was lost for too long.",
    "limit_circuits": "The peer has no free circuit.",
}


class CircuitHost(Protocol):
    """What a circuit needs of its client."""

    @property
    def window_bytes(self) -> int:
        """How many bytes a circuit may receive that its reader hasn't read yet."""
        ...

    @property
    def frame_bytes(self) -> int:
        """The relay's frame limit."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether more may be queued for the relay now."""
        ...

    def put_on_circuit(self, circuit: int, message: m.Message) -> None:
        """Queue a message of a circuit."""
        ...

    def put_credit(self, circuit: int, amount_bytes: int) -> None:
        """Queue a credit grant."""
        ...

    def forget(self, circuit: int) -> None:
        """Note that a circuit has ended."""
        ...


class ClientCircuit:
    """One end of a circuit; see ``node.relay.circuit.Circuit``.

    Args:
        host: The client's session.
        number: The circuit's number on this connection.
        peer: The node at the other end.
        send_credit_bytes: What may be sent at once: the window that the peer's opening gave, 0 for our own opening.
        first: The frame that was sent with our opening, empty for none.
    """

    def __init__(
        self, host: CircuitHost, number: int, peer: NodeId, send_credit_bytes: int = 0, *, first: bytes = b""
    ) -> None:
        self._host = host
        self._number = number
        self._peer = peer
        self._send_credit_bytes = send_credit_bytes
        self._first_cost_bytes = m.first_cost_bytes(first)
        self._window_bytes = host.window_bytes
        self._inbox: deque[bytes] = deque()
        self._unread_bytes = 0
        self._ungranted_bytes = 0
        self._ended: tuple[str, str] | None = None
        self._readable = asyncio.Event()
        self._sendable = asyncio.Event()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the peer accepted the circuit; cancelled when the circuit ended before."""

    def __repr__(self) -> str:
        return f"<ClientCircuit {self._number} to {self._peer[:8]}{' ended' if self._ended else ''}>"

    @property
    def peer(self) -> NodeId:
        """Who is at the other end."""
        return self._peer

    @property
    def ended(self) -> tuple[str, str] | None:
        """The code and reason of the end, or ``None`` while it lives."""
        return self._ended

    async def send(self, frame: bytes) -> None:
        """Send one frame; wait while the peer has given too little credit.

        Raises:
            CircuitClosedError: If the circuit has ended.
            RelayError: If the frame is larger than the relay's limit.
        """
        if len(frame) > self._host.frame_bytes:
            raise RelayError(
                f"A frame of {len(frame)} bytes exceeds the relay's limit of {self._host.frame_bytes}.",
                code="limit_frame",
            )
        cost_bytes = len(frame) + m.FRAME_COST_BYTES
        while self._ended is None and (self._send_credit_bytes < cost_bytes or not self._host.has_room):
            self._sendable.clear()
            await self._sendable.wait()
        if self._ended is not None:
            raise self._closed_error()
        self._send_credit_bytes -= cost_bytes
        self._host.put_on_circuit(self._number, m.Data(self._number, frame))

    async def receive(self) -> bytes:
        """The next frame, in order.

        Raises:
            CircuitClosedError: When the circuit has ended and every frame was read.
        """
        while not self._inbox:
            if self._ended is not None:
                raise self._closed_error()
            self._readable.clear()
            await self._readable.wait()
        frame = self._inbox.popleft()
        cost_bytes = len(frame) + m.FRAME_COST_BYTES
        self._unread_bytes -= cost_bytes
        self._ungranted_bytes += cost_bytes
        # Credit is granted by half windows: the sender can go on, and not each frame costs a message.
        if self._ungranted_bytes * 2 >= self._window_bytes and self._ended is None:
            self._host.put_credit(self._number, self._ungranted_bytes)
            self._ungranted_bytes = 0
        return frame

    async def close(self, code: str = "done", reason: str = "") -> None:
        """End the circuit. Frames that were sent before still arrive. Calling it twice does nothing.

        Args:
            code: A short snake_case word; anything else travels as ``failed``.
            reason: One line for a person; it is made plain.
        """
        if self._ended is None:
            code = code if _CODE.fullmatch(code) else "failed"
            self._host.put_on_circuit(self._number, m.Close(self._number, code, plain(reason, _REASON_CHARS)))
            self._inbox.clear()
            self.end(code, reason)

    # -- what the client calls ---------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept an incoming circuit: the peer may send from now on."""
        self._host.put_on_circuit(self._number, m.Accept(self._number, self._window_bytes))

    def on_accepted(self, window_bytes: int) -> None:
        """The peer accepted the circuit.

        Raises:
            WireError: If it had accepted before.
        """
        if self.opened.done():
            raise WireError("The relay says twice that a circuit is open.")
        self._send_credit_bytes = window_bytes - self._first_cost_bytes
        self.opened.set_result(None)
        self._sendable.set()

    def on_data(self, frame: bytes) -> None:
        """A frame arrived.

        Raises:
            WireError: If it exceeds the credit that was given.
        """
        self._unread_bytes += len(frame) + m.FRAME_COST_BYTES
        if self._unread_bytes + self._ungranted_bytes > self._window_bytes:
            raise WireError("The relay sends more than a circuit's credit.", code="credit")
        self._inbox.append(frame)
        self._readable.set()

    def on_credit(self, amount_bytes: int) -> None:
        """The peer granted more credit."""
        self._send_credit_bytes = min(self._send_credit_bytes + amount_bytes, m.MAX_WINDOW_BYTES)
        self._sendable.set()

    def on_room(self) -> None:
        """The client has room for more messages to the relay."""
        self._sendable.set()

    def end(self, code: str, reason: str) -> None:
        """The circuit has ended; what arrived before can still be read."""
        if self._ended is None:
            self._ended = (code, plain(reason, _REASON_CHARS))
            self._host.forget(self._number)
            self.opened.cancel()
            self._readable.set()
            self._sendable.set()

    def _closed_error(self) -> CircuitClosedError:
        code, reason = self._ended or ("done", "")
        return CircuitClosedError(reason or _LINES.get(code, f"The circuit ended ({code})."), peer_code=code)
