"""Encodes and decodes the relay protocol's messages: bytes become a valid message within its bounds, or a coded error.

One binary websocket message carries one msgpack message; the websocket does the framing.
"""

from __future__ import annotations

import functools
from typing import Final, Generic, TypeVar

import msgspec

from node.wire import messages as m
from node.wire.wire_error import WireError

MAX_MESSAGE_BYTES: Final = m.MAX_OFFERS_PER_NODE * (m.MAX_OFFER_BYTES + 8) + 1024
"""The largest message of the protocol; a relay's own limits may be lower."""
MAX_HANDSHAKE_BYTES: Final = 1024

MessageT = TypeVar("MessageT")

_encoder: Final = msgspec.msgpack.Encoder()


def encode(message: m.Message) -> bytes:
    """Encode one message for one websocket binary message."""
    return _encoder.encode(message)


class Reader(Generic[MessageT]):
    """Decodes the messages of one type or union, and refuses all others.

    Args:
        types: The message type or union that is allowed.
        max_bytes: The largest encoded message that is allowed.
    """

    def __init__(self, types: type[MessageT], max_bytes: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[MessageT] = msgspec.msgpack.Decoder(types)
        self._max_bytes = max_bytes

    def read(self, data: bytes) -> MessageT:
        """Decode and validate one message.

        Raises:
            WireError: With code ``limit_frame`` if it is too large, ``protocol`` if it isn't an allowed message.
        """
        if len(data) > self._max_bytes:
            raise WireError(f"A message of {len(data)} bytes exceeds {self._max_bytes}.", code="limit_frame")
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
            raise WireError("A message is malformed or not allowed here.") from None


@functools.cache
def hello_reader() -> Reader[m.Hello]:
    """A reader of the first message of a handshake."""
    return Reader(m.Hello, MAX_HANDSHAKE_BYTES)


@functools.cache
def auth_reader() -> Reader[m.Auth]:
    """A reader of the answer to a challenge."""
    return Reader(m.Auth, MAX_HANDSHAKE_BYTES)


@functools.cache
def challenge_reader() -> Reader[m.Challenge | m.Failure]:
    """A reader of a relay's answer to ``Hello``."""
    return Reader(m.Challenge | m.Failure, MAX_HANDSHAKE_BYTES)  # type: ignore[arg-type]  # a union is a type to msgspec


@functools.cache
def welcome_reader() -> Reader[m.Welcome | m.Failure]:
    """A reader of a relay's answer to ``Auth``."""
    return Reader(m.Welcome | m.Failure, MAX_HANDSHAKE_BYTES)  # type: ignore[arg-type]  # a union is a type to msgspec


@functools.cache
def node_reader(max_bytes: int = MAX_MESSAGE_BYTES) -> Reader[m.NodeMessage]:
    """A reader of what a node may send after its handshake."""
    return Reader(m.NodeMessage, max_bytes)  # type: ignore[arg-type]  # a union is a type to msgspec


@functools.cache
def relay_reader(max_bytes: int = MAX_MESSAGE_BYTES) -> Reader[m.RelayMessage]:
    """A reader of what a relay may send to a node after the handshake."""
    return Reader(m.RelayMessage, max_bytes)  # type: ignore[arg-type]  # a union is a type to msgspec


OUR_VERSIONS: Final = (m.PROTOCOL_MIN, m.PROTOCOL_MAX)
"""The oldest and the newest protocol version that this build speaks."""


def choose_version(min_version: int, max_version: int, *, ours: tuple[int, int] = OUR_VERSIONS) -> int:
    """Return the newest protocol version that both sides speak.

    Args:
        min_version: The oldest version that the peer speaks.
        max_version: The newest one.
        ours: The oldest and the newest version that this side speaks.

    Raises:
        WireError: With code ``version`` if there is none.
    """
    oldest, newest = ours
    chosen = min(max_version, newest)
    if chosen < max(min_version, oldest):
        raise WireError(
            f"The protocol versions don't match: {min_version} to {max_version} at one side, "
            f"{oldest} to {newest} at the other.",
            code="version",
            fix="Update the older side.",
        )
    return chosen
