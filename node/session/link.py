"""Session messages over a circuit: sealed, in as many frames as they need, decoded at one boundary."""

from __future__ import annotations

import asyncio
from typing import Final

from node.relay.circuit import Circuit
from node.session.messages import MAX_MESSAGE_BYTES, Message, MessageError, decode, encode
from node.session.sealed import MAX_PLAINTEXT_BYTES, SealedInitiator, SealedResponder

_LAST: Final = b"\x00"
_MORE: Final = b"\x01"
_PIECE_BYTES: Final = MAX_PLAINTEXT_BYTES - 1


class SealedLink:
    """One end of an open sealed session; made by :meth:`connect` or :meth:`accept`.

    One task sends and one receives; each frame begins with a byte that says whether the message goes on.
    """

    def __init__(self, circuit: Circuit, channel: SealedInitiator | SealedResponder) -> None:
        self._circuit = circuit
        self._channel = channel

    @classmethod
    async def connect(cls, circuit: Circuit, transport_key: bytes, *, timeout_s: float) -> SealedLink:
        """The buyer's end, sure to talk to the holder of the offer's ``transport_key``.

        Raises:
            SealError: If the peer is not the provider.
            CircuitClosedError: If the circuit ended meanwhile.
            TimeoutError: If the provider did not answer in time.
        """
        channel = SealedInitiator(transport_key)
        async with asyncio.timeout(timeout_s):
            await circuit.send(channel.hello())
            channel.receive_hello(await circuit.receive())
        return cls(circuit, channel)

    @classmethod
    async def accept(cls, circuit: Circuit, transport_secret_key: bytes, *, timeout_s: float) -> SealedLink:
        """The provider's end.

        Raises:
            SealError: If the peer's hello is malformed.
            CircuitClosedError: If the circuit ended meanwhile.
            TimeoutError: If the buyer said nothing in time.
        """
        channel = SealedResponder(transport_secret_key)
        async with asyncio.timeout(timeout_s):
            await circuit.send(channel.receive_hello(await circuit.receive()))
        return cls(circuit, channel)

    async def send(self, message: Message) -> None:
        """Send one message; waits while the peer gives no credit.

        Raises:
            MessageError: ``too_long``.
            SealError: If the channel broke.
            CircuitClosedError: If the circuit ended.
        """
        data = encode(message)
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            flag = _MORE if start + _PIECE_BYTES < len(data) else _LAST
            await self._circuit.send(self._channel.seal(flag + piece))

    async def receive(self) -> Message:
        """The peer's next message.

        Raises:
            MessageError: If it is no message of ours.
            SealError: If a frame was forged, lost or replayed.
            CircuitClosedError: When the circuit has ended.
        """
        pieces: list[bytes] = []
        length = 0
        while True:
            plaintext = self._channel.open(await self._circuit.receive())
            flag, piece = plaintext[:1], plaintext[1:]
            length += len(piece)
            if flag not in {_LAST, _MORE} or not piece or length > MAX_MESSAGE_BYTES:
                raise MessageError("The peer sent a malformed message frame.")
            pieces.append(piece)
            if flag == _LAST:
                return decode(b"".join(pieces))

    async def close(self, code: str = "done", reason: str = "") -> None:
        """End the circuit; harmless when repeated."""
        await self._circuit.close(code, reason)
