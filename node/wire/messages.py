"""The messages between a node and a relay, and the sizes that every field keeps to.

Every message is a msgpack array whose first element names its type. The types contain the constraints: a message that
``node.wire.codec`` returns has a valid shape and size.

After the handshake (``Hello``, ``Challenge``, ``Auth``, ``Welcome``) both sides count the messages they send, from one;
``Ack``, ``Ping``, ``Pong`` and ``Failure`` are not counted. A side keeps counted messages until the other says how
many it received, and sends the rest again, in order, after a resume.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1

MAX_FRAME_BYTES: Final = 262_144
"""The largest circuit frame any relay may allow; a relay's own limit stands in its ``Welcome``."""
MAX_FIRST_BYTES: Final = 256
"""The largest frame that may travel with an ``Open``: enough for the hello of a handshake."""
MAX_OFFER_BYTES: Final = 32_768
MAX_OFFERS_PER_NODE: Final = 64
MAX_PAGE_OFFERS: Final = 256
MAX_WINDOW_BYTES: Final = 16 * 1024 * 1024
MAX_COUNT: Final = 2**53 - 1
FRAME_COST_BYTES: Final = 64
"""What a frame costs of its circuit's credit in addition to its length, so that empty frames aren't free."""

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
CircuitId = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Version = Annotated[int, Meta(ge=0, le=65_535)]
WindowBytes = Annotated[int, Meta(ge=1, le=MAX_WINDOW_BYTES)]
CODE_PATTERN: Final = r"^[a-z][a-z0-9_]{0,47}\Z"
Code = Annotated[str, Meta(max_length=48, pattern=CODE_PATTERN)]
Reason = Annotated[str, Meta(max_length=240)]
Offer = Annotated[bytes, Meta(min_length=1, max_length=MAX_OFFER_BYTES)]
Frame = Annotated[bytes, Meta(max_length=MAX_FRAME_BYTES)]
First = Annotated[bytes, Meta(max_length=MAX_FIRST_BYTES)]


def first_cost_bytes(first: bytes) -> int:
    """What the first frame in an ``Open`` costs of its circuit's credit, in bytes; nothing if there is none."""
    return len(first) + FRAME_COST_BYTES if first else 0


class Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The base of all messages: an immutable msgpack array."""


class Hello(Message, frozen=True, tag="hello"):
    """Node → relay, first: the node's identity, and the protocol versions that it speaks."""

    min_version: Version
    max_version: Version
    node: Key
    nonce: Key


class Challenge(Message, frozen=True, tag="challenge"):
    """Relay → node: the version chosen and what to sign; ``proof`` shows that the relay holds its own key."""

    version: Version
    relay: Key
    nonce: Key
    proof: Signature


class Auth(Message, frozen=True, tag="auth"):
    """Node → relay: the signed challenge; ``token`` and ``received`` ask to resume a session."""

    signature: Signature
    token: Annotated[bytes, Meta(max_length=32)] = b""
    received: Count = 0


class Welcome(Message, frozen=True, tag="welcome"):
    """Relay → node: the session, how far it got if it was resumed, and the relay's limits."""

    token: Key
    resumed: bool
    received: Count
    grace_ms: Count
    idle_ms: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    frame_bytes: Annotated[int, Meta(ge=1, le=MAX_FRAME_BYTES)]
    window_bytes: WindowBytes
    circuits: Annotated[int, Meta(ge=1, le=65_535)]
    offers: Annotated[int, Meta(ge=0, le=MAX_OFFERS_PER_NODE)]
    offer_bytes: Annotated[int, Meta(ge=0, le=MAX_OFFER_BYTES)]
    bytes_per_s: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    burst_bytes: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    time_ms: Count = 0
    """The relay's clock, milliseconds UTC; 0 where it isn't told."""


class Publish(Message, frozen=True, tag="publish"):
    """Node → relay: all offers of this node; they replace the earlier ones."""

    request: Count
    offers: Annotated[tuple[Offer, ...], Meta(max_length=MAX_OFFERS_PER_NODE)]


class Published(Message, frozen=True, tag="published"):
    """Relay → node: the offers of that request are listed."""

    request: Count


class Query(Message, frozen=True, tag="query"):
    """Node → relay: a page of the listed offers, from ``cursor`` on."""

    request: Count
    cursor: Annotated[bytes, Meta(max_length=40)] = b""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_OFFERS)] = MAX_PAGE_OFFERS


class Listing(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One listed offer and the node that published it."""

    node: Key
    offer: Offer


class Page(Message, frozen=True, tag="page"):
    """Relay → node: listed offers in a stable order; an empty ``cursor`` says that this was the last page."""

    request: Count
    listings: Annotated[tuple[Listing, ...], Meta(max_length=MAX_PAGE_OFFERS)]
    cursor: Annotated[bytes, Meta(max_length=40)] = b""


class Open(Message, frozen=True, tag="open"):
    """Node → relay: open a circuit to ``peer``. The node numbers its own with rising odd numbers.

    ``first`` is the circuit's first frame, or empty for none. It saves a round trip at the beginning. It costs as much
    of the acceptance's window as a ``Data`` would.
    """

    circuit: CircuitId
    peer: Key
    window_bytes: WindowBytes
    first: First = b""


class Incoming(Message, frozen=True, tag="incoming"):
    """Relay → node: ``peer`` opens a circuit to you. The relay numbers these with rising even numbers."""

    circuit: CircuitId
    peer: Key
    window_bytes: WindowBytes
    first: First = b""


class Accept(Message, frozen=True, tag="accept"):
    """Node → relay: the incoming circuit is taken; ``window_bytes`` may be sent to it at first."""

    circuit: CircuitId
    window_bytes: WindowBytes


class Accepted(Message, frozen=True, tag="accepted"):
    """Relay → node: the peer took the circuit; ``window_bytes`` may be sent at first."""

    circuit: CircuitId
    window_bytes: WindowBytes


class Data(Message, frozen=True, tag="data"):
    """Both ways: one opaque frame of a circuit."""

    circuit: CircuitId
    frame: Frame


class Credit(Message, frozen=True, tag="credit"):
    """Both ways: the receiver of this message may send ``amount_bytes`` more."""

    circuit: CircuitId
    amount_bytes: WindowBytes


class Close(Message, frozen=True, tag="close"):
    """Both ways: the circuit has ended; no message of it follows."""

    circuit: CircuitId
    code: Code
    reason: Reason = ""


class Ack(Message, frozen=True, tag="ack"):
    """Both ways: how many counted messages have arrived so far."""

    received: Count


class Ping(Message, frozen=True, tag="ping"):
    """Node → relay: asks for a ``Pong``. Also an ``Ack``."""

    nonce: Count
    received: Count


class Pong(Message, frozen=True, tag="pong"):
    """Relay → node: the answer to ``Ping``. Also an ``Ack``."""

    nonce: Count
    received: Count
    time_ms: Count = 0
    """As in ``Welcome``."""


class Failure(Message, frozen=True, tag="failure"):
    """Relay → node, last: the coded error; the connection closes after it."""

    code: Code
    reason: Reason = ""


NodeMessage = Publish | Query | Open | Accept | Data | Credit | Close | Ack | Ping
"""The messages that a relay accepts from a node after the handshake."""
RelayMessage = Published | Page | Incoming | Accepted | Data | Credit | Close | Ack | Pong | Failure
"""The messages that a node accepts from a relay after the handshake."""
