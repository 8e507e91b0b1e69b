"""How long an upstream is waited for, and how much is asked of it to know it."""

from __future__ import annotations

import msgspec


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times and sizes of one upstream."""

    stall_s: float = 120.0
    """A stream without an event for so long is given up."""
    untaken_s: float = 5.0
    """An answer that nobody takes for so long is stopped: its buyer is gone, and a server works on unread."""
    watch_s: float = 5.0
    """How often a server is asked whether it is still there."""
    trial_tokens: int = 8_192
    """The longest prompt that is sent to see whether it arrives whole. A longer context is believed."""
    trial_s: float = 60.0
    """How long that may take; where it takes longer, the context is believed."""
    count_s: float = 60.0
    """How long it may take to count a prompt."""
    load_wait_s: float = 600.0
    """How long a server that still loads its model is waited for at the start."""
    load_pause_s: float = 2.0
    """How long to wait before it is asked again, unless it says so itself."""
