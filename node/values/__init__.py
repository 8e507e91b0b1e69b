"""Frozen values that ``NodeApi`` takes and returns.

Strings are as they came, also from peers: what draws them passes them through ``node.values.text``.
Amounts are nano, times are milliseconds UTC unless a name says otherwise.
"""

from __future__ import annotations

from chain.errors import IdlewattError
from chain.money import MAX_NANO, NANO_PER_USD, format_usd, parse_usd
from chain.views import (
    BatchView,
    ChainEvent,
    DisputeStage,
    DisputeView,
    FeeQuote,
    Inclusion,
    SafetyView,
    SequencerView,
    WaitingMessage,
)
from node.values.chain import Alarm, ChainSnapshot
from node.values.chat import ChatDelta, ChatDone, ChatEvent, ChatFailed, ChatQuote, ChatSession, ChatStage, ChatTurn
from node.values.endings import AnswerEnding, AnswerLimit, FinishReason, SavedEnding, ending_of
from node.values.events import LogLine, NodeChanged, NodeEvent, Notice
from node.values.health import ClockView, Health, HealthItem, Phase
from node.values.inference import (
    ChatMessage,
    JsonObject,
    JsonSchema,
    ResponseFormat,
    Sampling,
    TemplateOptions,
    TokenLogprob,
    TopLogprob,
)
from node.values.jobs import JobStage, JobView, ReceiptView, RejectionView
from node.values.machine import DeviceView, EnergyView, NetView, PauseView
from node.values.market import MAX_PRICE_NANO_PER_MTOK, OfferView, PriceAdvice, Prices, ProviderView
from node.values.models import (
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
from node.values.snapshot import NodeSnapshot, RelayView
from node.values.wallet import ChannelSummary, MergeView, MoneyLine, MoneyView, SlashView, WalletState, WalletView
from wallet.steps import StepState, WithdrawalStep
from wallet.trust import Trust

__all__ = [
    "MAX_NANO",
    "MAX_PRICE_NANO_PER_MTOK",
    "NANO_PER_USD",
    "Alarm",
    "AnswerEnding",
    "AnswerLimit",
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
    "ClockView",
    "DeviceView",
    "DisputeStage",
    "DisputeView",
    "EnergyView",
    "FeeQuote",
    "FinishReason",
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
    "MergeView",
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
    "RejectionView",
    "RelayView",
    "ResponseFormat",
    "SafetyView",
    "Sampling",
    "SavedEnding",
    "SequencerView",
    "SlashView",
    "StepState",
    "TemplateOptions",
    "TokenLogprob",
    "TopLogprob",
    "Trust",
    "WaitingMessage",
    "WalletState",
    "WalletView",
    "WithdrawalStep",
    "ending_of",
    "format_usd",
    "parse_usd",
]
