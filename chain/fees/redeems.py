"""Redeems carry no fee: the opening of a channel and each top-up pay for a number of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SMALL_COST: Final = 4
"""What a redeem below the least increment counts for. One is what a channel that ends early needs; a crowd isn't."""
KEPT_FOR_THE_END: Final = 1
"""Redeems that a channel keeps until it is closing or about to expire."""
ENDING_S: Final = 3_600
"""How long before its expiry a channel counts as ending."""


class RedeemRefusal(StrEnum):
    """Why a redeem isn't taken without L1."""

    TOO_SMALL = "redeem_too_small"
    QUOTA = "redeem_quota"


def cost_of(increment_nano: int, min_redeem_nano: int, *, is_ending: bool) -> int:
    """What a redeem takes of its channel's allowance."""
    return 1 if is_ending or increment_nano >= min_redeem_nano else SMALL_COST


def refused(left: int, increment_nano: int, min_redeem_nano: int, *, is_ending: bool) -> RedeemRefusal | None:
    """Why a redeem is refused; ``None`` if it is taken.

    Args:
        left: How many its channel has left.
        increment_nano: What it brings the payee.
        min_redeem_nano: Below it, it counts for several.
        is_ending: Whether the channel is closing or about to expire.
    """
    kept = 0 if is_ending else KEPT_FOR_THE_END
    if left >= cost_of(increment_nano, min_redeem_nano, is_ending=is_ending) + kept:
        return None
    return RedeemRefusal.TOO_SMALL if left >= 1 + kept else RedeemRefusal.QUOTA
