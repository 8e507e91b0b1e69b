"""A question to a model on somebody's machine, what is heard until its answer ends, and saved conversations."""

from __future__ import annotations

from typing import Literal

import msgspec

from node.values.endings import AnswerLimit, SavedEnding
from node.values.inference import (
    NO_OPTIONS,
    ChatMessage,
    ResponseFormat,
    Sampling,
    TemplateOptions,
    TokenLogprob,
)
from node.values.jobs import ReceiptView
from node.values.market import Prices


class ChatTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model on somebody's machine."""

    messages: tuple[ChatMessage, ...]
    model: str = ""
    """Model name; empty takes the best offer."""
    offer_id: str = ""
    """A particular offer; empty lets the node choose."""
    max_tokens: int | None = None
    """The most tokens of the answer; None for what the model's context, the deposit and ``max_spend_nano`` leave."""
    max_spend_nano: int | None = None
    """Never pay more than this for the turn, opening fee included; None for the budget of one answer, which
    ``node.buyer.deposit`` sets, or for the channel's deposit where ``max_tokens`` is given."""
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """Most likely tokens to report with each token, up to 20; None for no log-probabilities."""
    response_format: ResponseFormat | None = None
    template_options: TemplateOptions = NO_OPTIONS
    """Whether and how much a reasoning model should think, where its offer names such an ability."""


class ChatStage(msgspec.Struct, frozen=True, kw_only=True, tag="stage"):
    """What happens before the first token: choosing, connecting, opening a channel, waiting, thinking."""

    stage: Literal["choosing", "connecting", "opening_channel", "asking", "queued", "prefill"]
    detail: str


class ChatQuote(msgspec.Struct, frozen=True, kw_only=True, tag="quote"):
    """The provider's quote, re-counted and accepted."""

    job_id: str
    model: str
    model_sha256: str
    provider: str
    channel_id: int
    input_tokens: int
    max_output_tokens: int
    ceiling_nano: int
    prices: Prices
    limited_by: AnswerLimit | None = None
    """Why the answer can't be longer than ``max_output_tokens``."""


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True, tag="delta"):
    """Some text as the model wrote it, and what it has cost so far. What draws it neutralizes it."""

    text: str
    output_tokens: int
    spent_nano: int
    thinking: bool = False
    """A reasoning model's thinking, without its tags: billed as the answer, and no part of it."""
    markers: str = ""
    """What stood before this text and only marks thinking and answer, such as ``<think>``: billed and hashed, and not
    for a person. All deltas, each text behind its markers, are what the receipt's ``output_hash`` is of."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """As the provider sent them."""


class ChatDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The end of an answer, paid and receipted."""

    job_id: str
    reason: Literal["stop", "length", "cancelled"]
    input_tokens: int
    output_tokens: int
    thinking_tokens: int = 0
    """Those of the output tokens that a reasoning model spent on thinking, its markers included."""
    cost_nano: int
    deposit_left_nano: int
    ttft_ms: float
    tokens_per_s: float
    total_ms: float
    receipt: ReceiptView


class ChatFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The turn ended without a full answer; what was delivered is paid, nothing else."""

    code: str
    message: str
    fix: str
    cost_nano: int
    retry_after_ms: int = 0
    """After how long another try is likely to do; 0 where that isn't known."""


ChatEvent = ChatStage | ChatQuote | ChatDelta | ChatDone | ChatFailed


class ChatSession(msgspec.Struct, frozen=True, kw_only=True):
    """A saved conversation."""

    session_id: str
    title: str
    model: str
    created_ms: int
    messages: tuple[ChatMessage, ...]
    endings: tuple[SavedEnding, ...] = ()
    """Of the answers that are not whole."""
