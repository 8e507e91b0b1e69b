"""The rollup as this node sees it, and the alarm that a fraud or a freeze raises on every screen."""

from __future__ import annotations

from typing import Literal

import msgspec

from chain.views import BatchView, ChainEvent, SafetyView


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
    """Why the chain can't be reached; empty where it can."""
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
    fix: str = ""
    """What to do about ``error``."""
    l1_error: str = ""
    """Why L1 can't be read, if it can't."""
