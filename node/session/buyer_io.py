"""The events that a buyer's session takes and the actions it asks for: values between the machine and its shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from node.session import messages as m
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

# Events


@dataclass(frozen=True, slots=True)
class Received:
    """The peer sent a message that passed :func:`node.session.messages.decode`."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class Signed:
    """The voucher is on disk and may be sent."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class SigningFailed:
    """The voucher could not be written down or signed: the disk is full, the wallet locked."""

    code: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """The person, or the deadline of the whole turn, wants no more of it."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The provider said nothing for longer than the stage allows."""


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The circuit ended, or what came through it was no message."""

    code: str
    message: str = ""


Event = Received | Signed | SigningFailed | CancelWanted | Silence | PeerGone


# Actions


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the peer."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class Sign:
    """Write down and sign a voucher for ``cumulative_nano`` in all."""

    cumulative_nano: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Write down that this much was signed already: the peer showed our own signature for it."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the person: the accepted quote, a place in the line, some text."""

    message: m.Quote | m.Queued | m.Delta


@dataclass(frozen=True, slots=True)
class Keep:
    """Write a checked receipt down; nothing waits for it but the end of the request."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Finished:
    """The request is over and paid; nothing follows but closing the circuit."""

    reason: Literal["stop", "length", "cancelled"]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Failed:
    """The request is over without a full answer; nothing follows but closing the circuit."""

    code: str
    message: str
    fix: str
    receipt: Receipt | None = None


Action = Send | Sign | Adopt | Report | Keep | Finished | Failed
