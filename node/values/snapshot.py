"""Everything a dashboard needs, in one value."""

from __future__ import annotations

from typing import Literal

import msgspec

from node.values.chain import Alarm
from node.values.health import ClockView, HealthItem, Phase
from node.values.jobs import JobView, RejectionView
from node.values.machine import DeviceView, EnergyView, PauseView
from node.values.market import PriceAdvice, ProviderView
from node.values.wallet import WalletView


class RelayView(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the relay."""

    url: str
    state: Literal["off", "connecting", "online", "reconnecting", "closed"]
    rtt_ms: float | None
    reconnects: int
    error: str = ""
    """Why there is no connection, as one sentence; text of the relay in it is plain and bounded."""
    fix: str = ""
    """What to do about it; empty where it is tried again and nothing else helps."""


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
    rejections: tuple[RejectionView, ...]
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
    """While renting out is paused."""
    clock: ClockView | None = None
    """``None`` before a relay told its time."""
    chain_ahead_ms: int = 0
    """How far this machine's clock is ahead of the chain's, by which money's times are set; 0 where it isn't known."""
