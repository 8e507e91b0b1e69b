"""The events that a provider's session takes and the actions it asks for: values between the machine and its shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from node.engine.protocol import ChatMessage, FinishReason, GenerateRequest, TokenLogprob
from node.session import messages as m
from node.session.terms import ChannelFacts
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

# Events


@dataclass(frozen=True, slots=True)
class Received:
    """The peer sent a message that passed :func:`node.session.messages.decode`."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class ChannelChecked:
    """The answer to :class:`CheckChannel`."""

    facts: ChannelFacts


@dataclass(frozen=True, slots=True)
class Refused:
    """An action failed with a coded reason: the chain is silent, the channel busy, the engine down, the disk full."""

    code: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class VoucherStored:
    """The voucher is on disk and counts."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class InputCounted:
    """The answer to :class:`CountInput`."""

    input_tokens: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request waits for a slot."""

    position: int
    eta_ms: int


@dataclass(frozen=True, slots=True)
class Started:
    """The engine admitted the prompt."""

    input_tokens: int
    seed: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Produced:
    """The engine made some text; ``thinking`` and ``logprobs`` as in :class:`node.engine.protocol.Chunk`."""

    text: str
    tokens: int
    thinking: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineEnded:
    """The engine finished, or failed where ``error_code`` is set."""

    reason: FinishReason | Literal["failed"]
    at_ms: int
    error_code: str = ""
    error: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ReceiptReady:
    """The answer to :class:`IssueReceipt`: numbered, on disk, signed."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class CloseSigned:
    """The answer to :class:`AgreeClose`."""

    cumulative_nano: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class PaymentTimeout:
    """No voucher came within the time that :class:`AwaitPayment` asked for."""


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The circuit ended, or what came through it was no message."""

    code: str


Event = (
    Received
    | ChannelChecked
    | Refused
    | VoucherStored
    | InputCounted
    | Waiting
    | Started
    | Produced
    | EngineEnded
    | ReceiptReady
    | CloseSigned
    | PaymentTimeout
    | PeerGone
)


# Actions


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the peer."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class CheckChannel:
    """Read the channel from chain and disk, and reserve it for this session."""

    channel_id: int


@dataclass(frozen=True, slots=True)
class StoreVoucher:
    """Put a verified voucher on disk."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class CountInput:
    """Tokenize the conversation."""

    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class Generate:
    """Run the engine."""

    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class StopGenerating:
    """Cancel the engine's request; what it still yields is dropped."""


@dataclass(frozen=True, slots=True)
class IssueReceipt:
    """Number, write down and sign a receipt over these facts."""

    channel_id: int
    prompt_hash: bytes
    output_hash: bytes
    fingerprint_hash: bytes
    input_tokens: int
    output_tokens: int
    cumulative_nano: int
    seed: int
    started_ms: int
    finished_ms: int


@dataclass(frozen=True, slots=True)
class AgreeClose:
    """Redeem the best voucher held, then sign the close at the redeemed amount."""

    channel_id: int


@dataclass(frozen=True, slots=True)
class AwaitPayment:
    """Feed :class:`PaymentTimeout` after a while, unless the state stops saying ``awaits_payment`` before."""

    owed_nano: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Count a request that was not taken."""

    code: str


@dataclass(frozen=True, slots=True)
class End:
    """The request is over. Unless ``is_settled``, nothing follows: the circuit is closed."""

    code: str
    unpaid_nano: int = 0
    is_settled: bool = False
    """Whether everything delivered is paid for and said to be: the buyer may ask again on the same circuit."""


Action = (
    Send
    | CheckChannel
    | StoreVoucher
    | CountInput
    | Generate
    | StopGenerating
    | IssueReceipt
    | AgreeClose
    | AwaitPayment
    | Skip
    | End
)
