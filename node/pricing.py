"""What a number of tokens costs: the one formula both sides of a session bill and re-count by."""

from __future__ import annotations

TOKENS_PER_PRICE_UNIT = 1_000_000
"""Prices are nano per million tokens."""


def cost_nano(tokens: int, price_nano_per_mtok: int) -> int:
    """``ceil(tokens · price / 1_000_000)`` in exact integers.

    Args:
        tokens: A count, not negative.
        price_nano_per_mtok: Nano per million tokens, not negative.

    Raises:
        ValueError: If an argument is negative.
    """
    if tokens < 0 or price_nano_per_mtok < 0:
        raise ValueError("tokens and prices are never negative")
    return -(-tokens * price_nano_per_mtok // TOKENS_PER_PRICE_UNIT)
