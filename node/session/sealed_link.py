"""Session messages over a circuit: sealed, split into frames that fit, decoded in one place."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.relay.circuit import Circuit, CircuitClosedError
from node.session.messages import MAX_MESSAGE_BYTES, Message, MessageError, decode, encode
from node.session.sealed import MAX_PLAINTEXT_BYTES, SealedInitiator, SealedResponder
from node.wire.messages import CODE_PATTERN

log = get_logger(__name__)

FAREWELL_TIMEOUT_S: Final = 1.0
"""How long an end waits, by default, for a peer that takes no more frames."""
_LAST: Final = b"\x00"
_MORE: Final = b"\x01"
_END: Final = b"\x02"
_PIECE_BYTES: Final = MAX_PLAINTEXT_BYTES - 1
_CODE: Final = re.compile(CODE_PATTERN)


class SealedLink:
    """One end of an open sealed session; made by :meth:`connect` or :meth:`accept`.

    One task sends and one receives. Each frame begins with a byte that says whether the message goes on in the next
    one. The last frame of a side carries the code of the end, sealed. So a session that the peer ended can be told from
    one that the relay cut: see ``cut``.

    Args:
        circuit: The open circuit.
        channel: This side of the sealed channel, after its handshake.
    """

    def __init__(self, circuit: Circuit, channel: SealedInitiator | SealedResponder) -> None:
        self._circuit = circuit
        self._channel = channel
        self._sending = False
        self._closing = False
        self.cut = False
        """Whether the circuit ended without the peer's last frame: something that it sent may be missing."""

    @classmethod
    async def connect(
        cls, dial: Callable[[bytes], Awaitable[Circuit]], transport_key: bytes, *, timeout_s: float
    ) -> SealedLink:
        """The buyer's end, sure to talk to the holder of the offer's ``transport_key``.

        Args:
            dial: Opens the circuit. It sends the hello that it gets as the circuit's first frame, so that opening and
                handshake take one round trip together.
            transport_key: The provider's X25519 public key; 32 bytes.
            timeout_s: How long the provider may take to answer once the circuit is open.

        Raises:
            SealError: If the peer is not the provider.
            CircuitClosedError: If the circuit ended meanwhile.
            TimeoutError: If the provider did not answer in time.
        """
        channel = SealedInitiator(transport_key)
        circuit = await dial(channel.hello())
        try:
            async with asyncio.timeout(timeout_s):
                channel.receive_hello(await circuit.receive())
        except BaseException:
            await circuit.close("protocol")
            raise
        return cls(circuit, channel)

    @classmethod
    async def accept(cls, circuit: Circuit, transport_secret_key: bytes, *, timeout_s: float) -> SealedLink:
        """The provider's end.

        Args:
            circuit: The circuit that a buyer opened.
            transport_secret_key: The X25519 secret key whose public half stands in the offer; 32 bytes.
            timeout_s: How long the buyer may take to send its hello.

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
        self._sending = True
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            flag = _MORE if start + _PIECE_BYTES < len(data) else _LAST
            await self._circuit.send(self._channel.seal(flag + piece))
        self._sending = False

    async def receive(self) -> Message:
        """The peer's next message.

        Raises:
            MessageError: If it is no message of ours.
            SealError: If a frame was forged, lost or replayed, or an end that claims to be orderly was not the peer's.
            CircuitClosedError: When the peer has ended the session, or the circuit broke.
        """
        pieces: list[bytes] = []
        length = 0
        while True:
            plaintext = self._channel.open(await self._frame())
            flag, piece = plaintext[:1], plaintext[1:]
            if self._channel.closed:
                raise _ended(flag, piece) if not pieces else MessageError("The peer ended within a message.")
            length += len(piece)
            if flag not in {_LAST, _MORE} or not piece or length > MAX_MESSAGE_BYTES:
                raise MessageError("The peer sent a malformed message frame.")
            pieces.append(piece)
            if flag == _LAST:
                return decode(b"".join(pieces))

    async def close(
        self, code: str = "done", reason: str = "", *, farewell_timeout_s: float = FAREWELL_TIMEOUT_S
    ) -> None:
        """Send a sealed last frame and end the circuit; calling it twice does nothing.

        Args:
            code: Why it ends: a snake_case word; anything else travels as ``failed``.
            reason: One line for a person; only the relay and the peer's node see it.
            farewell_timeout_s: How long to wait for a peer that takes no more frames.
        """
        self._closing = True
        code = code if _CODE.fullmatch(code) else "failed"
        if not self._sending and not self._channel.ended:
            with contextlib.suppress(IdlewattError, TimeoutError):  # a circuit that has ended takes no last frame
                async with asyncio.timeout(farewell_timeout_s):
                    await self._circuit.send(self._channel.seal(_END + code.encode(), final=True))
        await self._circuit.close(code, reason)

    async def _frame(self) -> bytes:
        try:
            return await self._circuit.receive()
        except CircuitClosedError as error:
            if self._closing or self._channel.closed:
                raise
            self.cut = True
            log.warning("session_cut_short", circuit_code=error.wire_code)
            if error.code == "done":
                self._channel.expect_closed()
            raise


def _ended(flag: bytes, said: bytes) -> IdlewattError:
    code = said.decode("ascii", errors="replace")
    if flag != _END or not _CODE.fullmatch(code):
        return MessageError("The peer ended the session with a malformed frame.")
    return CircuitClosedError("The peer ended the session.", peer_code=code)
