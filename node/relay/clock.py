"""The relay's clock, as its messages tell it, beside this machine's."""

from __future__ import annotations

import time
from dataclasses import dataclass

_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Seconds that only rise, and go on while the machine sleeps, as every clock on a wall does."""
    return time.clock_gettime(_STEADY_CLOCK)


@dataclass(frozen=True, slots=True)
class RelayClock:
    """What time it was at the relay at one moment.

    The relay reads its clock between the question and the answer, nobody knows when: the middle is taken, and half of
    the time between them is the doubt (as in RFC 5905, section 8).
    """

    time_ms: int
    """By the relay, milliseconds UTC."""
    at_s: float
    """The moment, in steady seconds."""
    doubt_ms: float

    @classmethod
    def told(cls, time_ms: int, asked_s: float, answered_s: float) -> RelayClock | None:
        """The clock of a relay that told its time; ``None`` for one that doesn't.

        Args:
            time_ms: What it said; 0 where it says nothing.
            asked_s: When it was asked, in steady seconds.
            answered_s: When the answer came.
        """
        if not time_ms:
            return None
        return cls(time_ms, (asked_s + answered_s) / 2, (answered_s - asked_s) * 500)

    def ahead_ms(self, now_ms: int, now_s: float) -> float:
        """How far another clock is ahead of the relay's, milliseconds; negative for one that is behind.

        Args:
            now_ms: What the other clock says now.
            now_s: Now, in steady seconds.
        """
        return now_ms - self.time_ms - (now_s - self.at_s) * 1000
