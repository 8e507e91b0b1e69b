"""How long a buyer waits for others, and how often it looks by itself."""

from __future__ import annotations

import msgspec


class BuyerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A buyer's times."""

    connect_timeout_s: float = 10.0
    """How long a relay and a provider may take to open a connection."""
    kept_s: float = 240.0
    """How long an idle connection is kept. Providers keep theirs a little longer."""
    account_fresh_s: float = 5.0
    """How long a provider's account is used without asking the chain again."""
    account_doubt_s: float = 1.0
    """The same where an offer claims more than the account had."""
    account_patience_s: float = 1.0
    """The longest that a reading of the offers waits for the chain."""
    busy_wait_s: float = 60.0
    """How long a turn waits in all for providers that are busy and say for how long."""
    settle_pauses_s: tuple[float, ...] = (1.0, 5.0, 20.0)
    """The pauses before each attempt to send a voucher again that a broken session lost."""
    reconcile_s: float = 20.0
    """How often channels are compared with the chain."""
