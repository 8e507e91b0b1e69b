"""How long a client waits before it tries a relay again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.25
LONGEST_S: Final = 30.0
_MAX_DOUBLINGS: Final = 16


def backoff_s(attempt: int, jitter: float, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> float:
    """Return the wait before retry number ``attempt``: doubling up to ``longest_s``, less up to a half at random.

    The random half keeps the clients of a relay that restarts from returning in step.

    Args:
        attempt: How many retries came before, from 0.
        jitter: A random number from 0 to 1.
        first_s: The longest first wait.
        longest_s: The longest wait of all.
    """
    ceiling_s = min(longest_s, first_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))
    return ceiling_s * (1.0 - jitter / 2.0)


def jittered_backoff(*, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> Callable[[int], float]:
    """Return :func:`backoff_s` with fresh randomness for each retry.

    Args:
        first_s: The longest first wait.
        longest_s: The longest wait of all.
    """
    random = secrets.SystemRandom().random
    return lambda attempt: backoff_s(attempt, random(), first_s=first_s, longest_s=longest_s)
