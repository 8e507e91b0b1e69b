"""How long a provider waits for others, and how many sessions it has at once."""

from __future__ import annotations

import msgspec


class ProviderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's times and its number of sessions."""

    max_sessions: int = 64
    ready_timeout_s: float = 10.0
    """How long going online waits for the offer to be published. After that the node says what it waits for."""
    idle_s: float = 300.0
    """How long a session stays open after an answer. The node may end it sooner to make room for others."""
    payment_timeout_s: float = 30.0
    """How long a buyer may take to pay for what it received."""
    watch_s: float = 10.0
    """How often channels are looked at, and at least four times within the delay of a buyer who closes alone."""
    drain_s: float = 15.0
    """How long answers under way may take to end when the node goes offline."""
    last_redeem_s: float = 10.0
    """How long the chain may take when the node goes offline. What is not redeemed then stays claimable."""
