"""Events and actions of a buyer's session: the values between the state machine and its shell.

Import the module and qualify the names (``io.Send``): the provider's session has its own.
"""

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
class CancelRequested:
    """The user cancelled the request, or the deadline of the whole turn passed."""


@dataclass(frozen=True, slots=True)
class ProviderSilent:
    """The provider sent nothing for longer than the stage allows."""


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The circuit ended, or something came that is no message."""

    code: str
    message: str = ""


Event = Received | Signed | SigningFailed | CancelRequested | ProviderSilent | PeerGone


# Actions


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the peer."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class SignVoucher:
    """Write down and sign a voucher for ``cumulative_nano`` in all."""

    cumulative_nano: int


@dataclass(frozen=True, slots=True)
class AdoptVoucher:
    """Write down that this much was signed before: the provider showed our own signature for it."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """Tell the user: the accepted quote, the place in the queue, or some text."""

    message: m.Quote | m.Queued | m.Delta


@dataclass(frozen=True, slots=True)
class KeepReceipt:
    """Write a verified receipt down; only the end of the request waits for it."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Finished:
    """The request is over and paid. No action follows."""

    reason: Literal["stop", "length", "cancelled"]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Failed:
    """The request is over without a full answer. No action follows."""

    code: str
    message: str
    fix: str
    receipt: Receipt | None = None
    is_theirs: bool = False
    """Whether the code is the word of the provider or of the relay, and not this side's own."""
    input_tokens: int = 0
    """The provider's count of the prompt, if it told one: a claim."""
    retry_after_ms: int = 0
    """After how long it says that another try will do; 0 if it doesn't say."""


Action = Send | SignVoucher | AdoptVoucher | ReportProgress | KeepReceipt | Finished | Failed
