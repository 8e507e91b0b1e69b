"""How far clocks may be apart on the market: pure rules, from measured differences to a verdict.

Offers carry times by their providers' clocks, and buyers read them by their own. Each side compares its clock with the
relay's. A difference within ``borne_ms`` costs nothing, since readers allow for two clocks that are off by as much in
opposite directions. Beyond it a node neither publishes nor reads offers.

A relay's clock never becomes this machine's: it is a reason to refuse, and nothing is timed by it. All that a relay
could reach by a lie is to be useless. The chain's clock is a second witness. Where it bears this machine out, the
relay's is wrong, and the node goes on by its own. What times money (expiries, delays, deadlines) is the chain's clock
alone, also where all three differ.
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.values import ClockView, Health

BORNE_MS: Final = 5 * 60_000
"""How far a node's clock may be from the relay's."""
SKEW_MS: Final = 2 * BORNE_MS
"""How far two nodes' clocks may be apart."""
_SET: Final = "Set it: timedatectl set-ntp true"


class ClockLimits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a difference is told, and from where on it is refused."""

    noticed_ms: int = 5_000
    """A clock that is set by the network is right within a second."""
    borne_ms: int = BORNE_MS


LIMITS: Final = ClockLimits()


def judge_clock(
    ahead_ms: float, doubt_ms: float, *, chain_ahead_ms: float | None = None, limits: ClockLimits = LIMITS
) -> ClockView:
    """What a difference between this machine's clock and the relay's means.

    Args:
        ahead_ms: How far this machine's clock is ahead of the relay's; negative where it is behind.
        doubt_ms: How wrong that figure may be, either way.
        chain_ahead_ms: How far it is ahead of the chain's; ``None`` where that isn't known.
        limits: What is told, and what is refused.
    """
    certain_ms = max(0.0, abs(ahead_ms) - doubt_ms)
    told = f"{span(abs(ahead_ms))} {'ahead of' if ahead_ms > 0 else 'behind'}"
    health, line, fix = Health.WARN, f"This machine's clock is {told} the relay's.", _SET
    if certain_ms <= limits.noticed_ms:
        health, line, fix = Health.OK, "This machine's clock agrees with the relay's.", ""
    elif certain_ms > limits.borne_ms:
        if chain_ahead_ms is not None and abs(chain_ahead_ms) <= limits.borne_ms:
            about = f"{span(abs(ahead_ms))} {'behind' if ahead_ms > 0 else 'ahead'}"
            line = f"The relay's clock is {about}; this machine's agrees with the chain's."
            fix = "Tell its operator, or pass another --relay."
        else:
            health = Health.FAIL
            line = f"This machine's clock is {told} the relay's, too far for offers, which last minutes."
            fix = f"{_SET}, or pass another --relay if it is the relay's that is wrong."
    return ClockView(ahead_ms=round(ahead_ms), health=health, line=line, fix=fix)


def span(duration_ms: float) -> str:
    """A length of time in one or two units: ``8 s``, ``3 min``, ``10 min 5 s``, ``2 h 30 min``, ``4 days``."""
    seconds = round(duration_ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3_600:
        return _two(seconds // 60, "min", seconds % 60, "s")
    if seconds < 2 * 86_400:
        return _two(seconds // 3_600, "h", seconds % 3_600 // 60, "min")
    return f"{seconds // 86_400:,} days"


def _two(large: int, unit: str, small: int, part: str) -> str:
    return f"{large} {unit} {small} {part}" if small else f"{large} {unit}"
