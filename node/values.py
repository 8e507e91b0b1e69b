"""Frozen values that cross the seam between the node and whatever shows or steers it.

Every string here is harmless on screen already: what came from peers passed ``node.wire.text.plain``.
Amounts are nano, times are milliseconds UTC unless a name says otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from chain.errors import IdlewattError
from chain.money import MAX_NANO, NANO_PER_USD, format_usd, parse_usd
from chain.views import (
    BatchView,
    ChainEvent,
    DisputeStage,
    DisputeView,
    Inclusion,
    SafetyView,
    SequencerView,
    WaitingMessage,
)
from node.engine.protocol import (
    ChatMessage,
    JsonObject,
    JsonSchema,
    ResponseFormat,
    Sampling,
    TokenLogprob,
    TopLogprob,
)
from node.models.views import (
    BenchEvent,
    BenchRow,
    BenchView,
    FitView,
    HubModelView,
    ModelDetail,
    ModelView,
    PullChosen,
    PullDone,
    PullEvent,
    PullProgress,
)
from wallet.steps import Step, StepState

__all__ = [
    "MAX_NANO",
    "NANO_PER_USD",
    "Alarm",
    "BatchView",
    "BenchEvent",
    "BenchRow",
    "BenchView",
    "ChainEvent",
    "ChainSnapshot",
    "ChannelSummary",
    "ChatDelta",
    "ChatDone",
    "ChatEvent",
    "ChatFailed",
    "ChatMessage",
    "ChatQuote",
    "ChatSession",
    "ChatStage",
    "ChatTurn",
    "DeviceView",
    "DisputeStage",
    "DisputeView",
    "EnergyView",
    "FitView",
    "Health",
    "HealthItem",
    "HubModelView",
    "IdlewattError",
    "Inclusion",
    "JobStage",
    "JobView",
    "JsonObject",
    "JsonSchema",
    "LogLine",
    "ModelDetail",
    "ModelView",
    "MoneyLine",
    "MoneyView",
    "NetView",
    "NodeChanged",
    "NodeEvent",
    "NodeSnapshot",
    "Notice",
    "OfferView",
    "PauseView",
    "Phase",
    "PriceAdvice",
    "Prices",
    "ProviderView",
    "PullChosen",
    "PullDone",
    "PullEvent",
    "PullProgress",
    "ReceiptView",
    "RelayView",
    "ResponseFormat",
    "SafetyView",
    "Sampling",
    "SequencerView",
    "SkippedView",
    "SlashView",
    "Step",
    "StepState",
    "TokenLogprob",
    "TopLogprob",
    "WaitingMessage",
    "WalletState",
    "WalletView",
    "format_usd",
    "parse_usd",
]


class Phase(StrEnum):
    """The headline state of renting out."""

    OFF = "off"
    STARTING = "starting"
    IDLE = "idle"
    SERVING = "serving"
    DEGRADED = "degraded"
    PAUSED = "paused"
    """The machine is somebody else's for now; it goes on by itself."""
    STOPPING = "stopping"


class Health(StrEnum):
    """One check's verdict."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class HealthItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the checklist behind the headline."""

    name: str
    health: Health
    detail: str
    fix: str = ""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Nano per million tokens, input and output apart."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, or the CPU where there is none; ``None`` where the hardware does not tell."""

    name: str
    kind: Literal["gpu", "cpu"]
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_c: float | None
    power_w: float | None


class NetView(msgspec.Struct, frozen=True, kw_only=True):
    """What renting out earned over some jobs, and what was left of it after electricity."""

    name: str
    """An hour's or day's beginning in milliseconds UTC, a model, or a device."""
    jobs: int
    output_tokens: int
    """0 for a device: its jobs may have used others as well."""
    earned_nano: int
    energy_mj: int
    """Millijoules that would not have been taken without these jobs."""
    cost_nano: int
    net_nano: int
    """``earned_nano - cost_nano``; may be below zero."""
    is_estimate: bool
    """Whether any of the energy is an estimate."""
    unmeasured_jobs: int
    """Jobs whose energy is not known: it counts as none."""


class EnergyView(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine draws, and what is left of the earnings."""

    power_w: float | None
    """All devices together; ``None`` before the second look."""
    idle_w: float | None
    """What they take without jobs."""
    is_estimate: bool
    """Whether any of the power is."""
    basis: str
    """Where the figures come from, for a person."""
    nano_per_kwh: int
    """What a kilowatt-hour costs now."""
    price_is_assumed: bool
    """Whether nobody said what power costs."""
    joules_per_token: float | None
    """Of an output token of the model that is rented out; ``None`` while unknown."""
    today: NetView
    total: NetView
    hours: tuple[NetView, ...]
    """The last 24 hours that had jobs, oldest first."""
    days: tuple[NetView, ...]
    """The last 30 days (UTC) that had jobs, oldest first."""
    models: tuple[NetView, ...]
    devices: tuple[NetView, ...]
    warning: str = ""
    """When power costs more than was earned."""
    fix: str = ""


class PriceAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """What a price could be, and what it should not be below."""

    suggested: Prices
    floor: Prices
    """What the power for a token costs at the dearest hour; 0 where nothing is known."""
    basis: str
    """Where the suggestion comes from, for a person."""
    floor_basis: str
    is_estimate: bool
    """Whether the floor rests on an estimate."""
    offers: int
    """Providers whose offers were compared."""


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is rented out although it should be."""

    kind: str
    """``hours``, ``quiet_hours``, ``program``, ``person``, ``temperature``, ``power``, ``gpu`` or ``cpu``."""
    reason: str
    fix: str
    since_ms: int
    until_ms: int | None
    """When it ends by the clock; ``None`` where that depends."""


class JobStage(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PREFILL = "prefill"
    STREAMING = "streaming"
    UNPAID = "unpaid"
    """Stopped at the credit window, waiting for a voucher."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReceiptView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's signed receipt, as shown and as printed in JSON (hashes and the signature as ``0x`` hex)."""

    channel_id: int
    sequence: int
    provider: str
    model_sha256: str
    engine_build: str
    prompt_hash: str
    output_hash: str
    fingerprint_hash: str
    input_tokens: int
    output_tokens: int
    cumulative_nano: int
    seed: int
    started_ms: int
    finished_ms: int
    signature: str


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One request, from either side."""

    job_id: str
    role: Literal["provider", "buyer"]
    model: str
    peer: str
    stage: JobStage
    channel_id: int | None
    input_tokens: int
    output_tokens: int
    tokens_per_s: float
    amount_nano: int
    """Earned (provider) or paid (buyer) so far."""
    exposure_nano: int
    """Delivered and not yet paid for."""
    credit_window_nano: int
    started_ms: int
    finished_ms: int | None
    error_code: str = ""
    error: str = ""
    receipt: ReceiptView | None = None


class SkippedView(msgspec.Struct, frozen=True, kw_only=True):
    """Why no jobs: requests not taken, or time in which none could be, counted by reason, with the fix."""

    reason: str
    count: int
    """Today's, by UTC."""
    fix: str
    group: str = ""
    """What it is about: price, model, context, slots, stake, reputation, relay, chain, engine, channel, …"""
    title: str = ""
    """The reason in words."""
    unit: Literal["requests", "seconds"] = "requests"
    week_count: int = 0
    """Of the last seven days, today included."""


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """What this node rents out."""

    model: str
    model_sha256: str
    quantization: str
    context_length: int
    prices: Prices
    slots: int
    free_slots: int
    tokens_per_s: float
    ttft_ms: float
    engine_state: str
    earned_today_nano: int
    earned_total_nano: int
    jobs_today: int
    claimable_nano: int
    """Vouchers held and not yet redeemed."""


class RelayView(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the relay."""

    url: str
    state: Literal["off", "connecting", "online", "reconnecting", "closed"]
    rtt_ms: float | None
    reconnects: int
    error: str = ""


class WalletState(StrEnum):
    """Whether a wallet exists and can sign."""

    NONE = "none"
    LOCKED = "locked"
    UNLOCKED = "unlocked"


class MoneyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One place where money is: on L2, in a channel, claimable, on its way, on L1."""

    place: Literal["wallet", "channel", "claimable", "withdrawing", "l1"]
    label: str
    amount_nano: int
    inclusion: Inclusion | None = None
    ready_at_s: int | None = None
    reference: str = ""


class MoneyView(msgspec.Struct, frozen=True, kw_only=True):
    """Where all of one wallet's money is."""

    lines: tuple[MoneyLine, ...]
    total_nano: int


class WalletView(msgspec.Struct, frozen=True, kw_only=True):
    """One wallet of this node; the demo has two, one a side."""

    wallet_id: str
    """``main``, or ``seller`` and ``buyer`` in the demo; names the wallet in every wallet call."""
    label: str
    state: WalletState
    address: str
    balance_nano: int | None
    money: MoneyView | None
    backed_up: bool
    stake_nano: int = 0
    """What stands behind the receipts that it signs."""
    unlocking_nano: int = 0
    """The part of a stake on its way out; slashable until it is back in the balance."""
    unlock_at_s: int = 0


class SlashView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that lost its stake for two receipts that contradict each other."""

    provider: str
    channel_id: int
    sequence: int
    reward_nano: int
    """What this wallet got: half of the stake."""
    l2_tx: str


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of ours, from either side."""

    channel_id: int
    role: Literal["provider", "buyer"]
    peer: str
    state: Literal["opening", "open", "closing", "closed", "foreign"]
    deposit_nano: int
    spent_nano: int
    """Signed (buyer) or held in the best voucher (provider)."""
    redeemed_nano: int
    expiry_s: int
    closing_at_s: int


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What every screen says in a line of its own, for as long as it is so."""

    severity: Literal["danger", "warning"]
    text: str
    way_out: Literal["", "force", "exit"] = ""
    """What a wallet can do about it: force a withdrawal through L1, or leave altogether."""


class ChainSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The rollup as this node sees it."""

    url: str
    reachable: bool
    error: str
    l2_chain_id: int | None
    l1_chain_id: int | None
    rollup_address: str
    deployment: str
    head_tx_count: int
    head_state_root: str
    challenge_window_s: int | None
    chain_time_s: int | None
    has_faucet: bool
    batches: tuple[BatchView, ...]
    events: tuple[ChainEvent, ...]
    safety: SafetyView | None = None
    """As last read from L1; ``None`` before it was."""
    l1_error: str = ""
    """Why L1 can't be read, if it can't."""


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """One verified offer on the market."""

    offer_id: str
    provider: str
    node_id: str
    model: str
    model_sha256: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    prices: Prices
    slots: int
    free_slots: int
    tokens_per_s: float
    ttft_ms: float
    min_deposit_nano: int
    stake_nano: int
    engine_build: str
    expires_ms: int
    mine: bool = False
    auditable: bool = True
    """Whether a file stands for the model, so that answers can be replayed; ``False`` behind an upstream server."""


class ChatTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model on somebody's machine."""

    messages: tuple[ChatMessage, ...]
    model: str = ""
    """Model name; empty takes the best offer."""
    offer_id: str = ""
    """A particular offer; empty lets the node choose."""
    max_tokens: int = 512
    max_spend_nano: int | None = None
    """Refuse before paying more than this for the turn, opening fee included."""
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """Most likely tokens to report with each token, up to 20; None for no log-probabilities."""
    response_format: ResponseFormat | None = None


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


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True, tag="delta"):
    """Some text, harmless on screen, and what it has cost so far."""

    text: str
    output_tokens: int
    spent_nano: int
    thinking: bool = False
    """A reasoning model's thinking, without its tags: billed as the answer, and no part of it."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """As the provider sent them: their bytes are not made harmless."""


class ChatDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The end of an answer, paid and receipted."""

    job_id: str
    reason: Literal["stop", "length", "cancelled"]
    input_tokens: int
    output_tokens: int
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


ChatEvent = ChatStage | ChatQuote | ChatDelta | ChatDone | ChatFailed


class ChatSession(msgspec.Struct, frozen=True, kw_only=True):
    """A saved conversation."""

    session_id: str
    title: str
    model: str
    created_ms: int
    messages: tuple[ChatMessage, ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """One line of the node's log."""

    at_ms: int
    level: Literal["debug", "info", "warning", "error", "critical"]
    source: str
    text: str


class NodeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a dashboard needs, taken at once, cheap to take."""

    version: str
    demo: bool
    phase: Phase
    why: str
    fix: str
    checklist: tuple[HealthItem, ...]
    provider: ProviderView | None
    devices: tuple[DeviceView, ...]
    active_jobs: tuple[JobView, ...]
    recent_jobs: tuple[JobView, ...]
    tokens_per_s_history: tuple[float, ...]
    """One sample a second, oldest first, at most 120."""
    skipped: tuple[SkippedView, ...]
    relay: RelayView
    chain_url: str
    chain_reachable: bool
    wallets: tuple[WalletView, ...]
    alarm: Alarm | None = None
    """A fraud or a freeze, while it is on."""
    energy: EnergyView | None = None
    """``None`` before the hardware was looked at."""
    price: PriceAdvice | None = None
    """``None`` while nothing is known to advise by."""
    pause: PauseView | None = None
    """While the machine is somebody else's."""


class NodeChanged(msgspec.Struct, frozen=True, kw_only=True, tag="changed"):
    """Something in the snapshot changed; take a new one. Coalesced, so a slow reader never falls behind."""

    what: Literal["phase", "jobs", "relay", "chain", "wallet", "market", "devices", "models"]


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """Something a person should be told once."""

    severity: Literal["information", "warning", "error"]
    text: str


NodeEvent = NodeChanged | Notice | LogLine
