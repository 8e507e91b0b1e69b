"""Events and actions of a provider's session: the values between the state machine and its shell.

Import the module and qualify the names (``io.Send``): the buyer's session has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chain.errors import ErrorCode
from node.engine.protocol import FinishReason, GenerateRequest
from node.session import messages as m
from node.session.terms import ChannelFacts
from node.values.inference import NO_OPTIONS, ChatMessage, TemplateOptions, TokenLogprob
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
    """An action failed with a coded reason: the chain doesn't answer, the channel is busy, the disk is full."""

    code: ErrorCode
    message: str
    fix: str = ""
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class VoucherStored:
    """The voucher is on disk."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class InputCounted:
    """The answer to :class:`CountInput`."""

    input_tokens: int


@dataclass(frozen=True, slots=True)
class WaitingForSlot:
    """The request waits for a slot.

    Args:
        position: Its place in the admission queue, from 0.
        eta_ms: How long it will wait, as estimated.
    """

    position: int
    eta_ms: int


@dataclass(frozen=True, slots=True)
class Started:
    """The engine began with the prompt.

    Args:
        input_tokens: The prompt's tokens, as the engine counts them.
        seed: The seed that it uses.
        at_ms: When, milliseconds UTC.
    """

    input_tokens: int
    seed: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class TextProduced:
    """The engine produced some text; the fields are those of :class:`node.engine.protocol.Chunk`."""

    text: str
    tokens: int
    thinking: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    marker: bool = False


@dataclass(frozen=True, slots=True)
class EngineEnded:
    """The engine finished, or it failed and ``error_code`` says why."""

    reason: FinishReason | Literal["failed"]
    at_ms: int
    error_code: str = ""
    error: str = ""
    fix: str = ""
    retry_after_ms: int = 0


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
    """The circuit ended, or something came that is no message."""

    code: str


Event = (
    Received
    | ChannelChecked
    | Refused
    | VoucherStored
    | InputCounted
    | WaitingForSlot
    | Started
    | TextProduced
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
    template_options: TemplateOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Generate:
    """Run the engine."""

    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class StopGenerating:
    """Cancel the engine's request; what it still yields is dropped."""


@dataclass(frozen=True, slots=True)
class IssueReceipt:
    """Number, write down and sign a receipt with these contents."""

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
    """Send :class:`PaymentTimeout` after a while, unless the state's ``awaits_payment`` becomes false before."""

    owed_nano: int


@dataclass(frozen=True, slots=True)
class CountRejection:
    """Count a request that was rejected, or whose buyer left before the first token."""

    code: str


@dataclass(frozen=True, slots=True)
class EndRequest:
    """The request is over. Unless ``is_settled``, the session is over too and the circuit is closed."""

    code: str
    unpaid_nano: int = 0
    is_settled: bool = False
    """Whether everything delivered is paid and the buyer was told: it may ask again on the same circuit."""


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
    | CountRejection
    | EndRequest
)
