"""Requests from either side, their receipts, and why some did not come to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


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


class RejectionView(msgspec.Struct, frozen=True, kw_only=True):
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
