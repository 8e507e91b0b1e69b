"""The messages of buyer and provider inside the sealed channel: tagged msgpack maps, each field bounded.

All input passes :func:`decode`: what it returns keeps every bound of this module, and anything else is a coded error.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from chain.errors import IdlewattError
from node.values import MAX_PRICE_NANO_PER_MTOK, Prices
from node.values.inference import (
    MAX_TOP_LOGPROBS,
    NO_OPTIONS,
    ChatMessage,
    ResponseFormat,
    Sampling,
    TemplateOptions,
    TokenLogprob,
    content_bytes,
)
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 1 << 20
"""One message, encoded; the sealed channel carries it in as many frames as its own limit needs."""
MAX_CONVERSATION_MESSAGES = 512
MAX_CONVERSATION_BYTES = 768 * 1024
MAX_OUTPUT_TOKENS = 1 << 20
MAX_DELTA_CHARS = 16_384
MAX_DELTA_LOGPROBS = 32
"""With this limit a delta of the longest possible tokens still fits into one message."""
MAX_LINE_CHARS = 400
MAX_BIAS = 100.0
MAX_STOP_STRINGS = 8
MAX_SEED = 2**64 - 1
MAX_POSITION = 1 << 20
MAX_ETA_MS = 1 << 40

Nano = Annotated[int, msgspec.Meta(ge=0)]
"""At most u64, which is what msgpack carries."""
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
ChannelId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
RequestId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+\Z")]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=48, pattern=r"^[a-z0-9_]+\Z")]
Line = Annotated[str, msgspec.Meta(max_length=MAX_LINE_CHARS)]
RetryMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_ETA_MS)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class MessageError(IdlewattError):
    """Bytes from the peer are no message of this protocol."""

    default_code = "protocol"


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """A conversation to continue, and what the buyer agrees to pay at most."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = PROTOCOL_VERSION
    request_id: RequestId
    channel_id: ChannelId
    model_sha256: Hash
    messages: Annotated[tuple[ChatMessage, ...], msgspec.Meta(min_length=1, max_length=MAX_CONVERSATION_MESSAGES)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUT_TOKENS)]
    prices: Prices
    """What the offer said: the session's price ceiling."""
    max_cost_nano: Nano
    """The most this request may cost."""
    sampling: Sampling = Sampling()
    stop: Annotated[tuple[Stop, ...], msgspec.Meta(max_length=MAX_STOP_STRINGS)] = ()
    voucher: Voucher | None = None
    """The buyer's newest voucher on this channel, in case the provider never got it."""
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    """How many of the most likely tokens to report with each token of the answer; ``None`` for no log-probabilities."""
    response_format: ResponseFormat | None = None
    """What form the answer must have. The receipt's fingerprint covers it, so one that ignores it is refused."""
    template_options: TemplateOptions = NO_OPTIONS
    """What the chat template is told beside the conversation; the fingerprint covers it too."""


class Quote(msgspec.Struct, frozen=True, kw_only=True, tag="quote"):
    """What the request will cost at most; the answer follows without waiting."""

    request_id: RequestId
    input_tokens: Tokens
    max_output_tokens: Tokens
    prices: Prices
    ceiling_nano: Nano
    credit_tokens: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
    """Output tokens the provider streams ahead of payment."""
    held: Voucher | None = None
    """The best voucher the provider holds: the buyer adopts it only when its own signature verifies."""


class Queued(msgspec.Struct, frozen=True, kw_only=True, tag="queued"):
    """Every slot is busy; this is the request's place in the admission queue."""

    position: Annotated[int, msgspec.Meta(ge=0, le=MAX_POSITION)]
    eta_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_ETA_MS)]


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="delta", omit_defaults=True):
    """Some more of the answer and the output tokens billed for it."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_DELTA_CHARS)]
    tokens: Tokens
    thinking: bool = False
    """Whether the text is a reasoning model's thinking. It is billed and hashed like the rest."""
    marker: bool = False
    """Whether the text is only a marker of thinking or answer, which a person need not see."""
    logprobs: Annotated[tuple[TokenLogprob, ...], msgspec.Meta(max_length=MAX_DELTA_LOGPROBS)] = ()


class Pay(msgspec.Struct, frozen=True, kw_only=True, tag="pay"):
    """A voucher. As a session's first message it pays what an earlier session left unpaid."""

    voucher: Voucher


class Stalled(msgspec.Struct, frozen=True, kw_only=True, tag="stalled"):
    """The credit window is full: nothing more is delivered until a voucher for ``owed_nano`` in all arrives."""

    owed_nano: Nano


class Final(msgspec.Struct, frozen=True, kw_only=True, tag="final"):
    """The end of the answer, with the receipt for exactly what was delivered."""

    reason: Literal["stop", "length", "cancelled", "failed"]
    receipt: Receipt
    error_code: Annotated[str, msgspec.Meta(max_length=48)] = ""
    error: Line = ""
    fix: Line = ""
    retry_after_ms: RetryMs = 0
    """See ``Fault``."""


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """The voucher is on the provider's disk; nothing more is owed."""

    cumulative_nano: Nano


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Stop after the present token; what was delivered is paid."""


class CloseRequest(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Ask the payee to close the channel cooperatively, at the amount of its newest voucher."""

    channel_id: ChannelId
    voucher: Voucher | None = None


class CloseSignature(msgspec.Struct, frozen=True, kw_only=True, tag="close_signature"):
    """The payee's signature for closing at ``cumulative_nano``."""

    channel_id: ChannelId
    cumulative_nano: Nano
    signature: Signature


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault"):
    """Why the session ends here."""

    code: Code
    message: Line = ""
    fix: Line = ""
    input_tokens: Tokens = 0
    """How many tokens the provider counts in the prompt, where it counted them: a deposit can be made by it."""
    retry_after_ms: RetryMs = 0
    """After how long the same request is likely to be served; 0 where that isn't known."""


Message = (
    Ask | Quote | Queued | Delta | Pay | Stalled | Final | Settled | Cancel | CloseRequest | CloseSignature | Fault
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The message as bytes for the sealed channel.

    Raises:
        MessageError: ``too_long`` if it passes ``MAX_MESSAGE_BYTES``.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError("The conversation is too long to send.", code="too_long", fix="Start a new chat.")
    return data


def decode(data: bytes) -> Message:
    """Read one message from the peer.

    Raises:
        MessageError: If it is too long, no msgpack, no message of ours, or breaks a bound.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError("The peer sent a message that is too long.", code="too_long")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise MessageError("The peer sent something that is no message of this protocol.") from None
    if isinstance(message, Ask):
        problem = ask_problem(message)
        if problem:
            raise MessageError(problem, code="bad_request")
    elif isinstance(message, Quote) and not _sane_prices(message.prices):
        raise MessageError("The peer quoted an impossible price.")
    elif isinstance(message, Delta) and not _sane_logprobs(message.logprobs):
        raise MessageError("The peer sent impossible log-probabilities.")
    return message


def ask_problem(ask: Ask) -> str:
    """The problem with a request that msgspec's bounds can't express, or ``""``.

    It checks that the sampling numbers are finite, the conversation is not too long and the prices are possible.
    """
    if content_bytes(ask.messages) > MAX_CONVERSATION_BYTES:
        return "The conversation is too long."
    if not _sane_prices(ask.prices):
        return "The prices are impossible."
    return _sampling_problem(ask.sampling)


def _sane_prices(prices: Prices) -> bool:
    limits = range(MAX_PRICE_NANO_PER_MTOK + 1)
    return prices.input_nano_per_mtok in limits and prices.output_nano_per_mtok in limits


def _sane_logprobs(logprobs: tuple[TokenLogprob, ...]) -> bool:
    return all(math.isfinite(one.logprob) and all(math.isfinite(top.logprob) for top in one.top) for one in logprobs)


def _sampling_problem(sampling: Sampling) -> str:
    bounds = {
        "temperature": (sampling.temperature, 0.0, 10.0),
        "top_p": (sampling.top_p, 0.0, 1.0),
        "top_k": (sampling.top_k, 0, 1 << 20),
        "min_p": (sampling.min_p, 0.0, 1.0),
        "frequency_penalty": (sampling.frequency_penalty, -2.0, 2.0),
        "presence_penalty": (sampling.presence_penalty, -2.0, 2.0),
        "repeat_penalty": (sampling.repeat_penalty, 0.0, 10.0),
        "typical_p": (sampling.typical_p, 0.0, 1.0),
    }
    for name, (value, low, high) in bounds.items():
        if not math.isfinite(value) or not low <= value <= high:
            return f"The sampling parameter {name} is out of range."
    if not all(-MAX_BIAS <= bias <= MAX_BIAS for _, bias in sampling.logit_bias):
        return "The sampling parameter logit_bias is out of range."
    if sampling.seed is not None and not 0 <= sampling.seed <= MAX_SEED:
        return "The sampling parameter seed is out of range."
    return ""
