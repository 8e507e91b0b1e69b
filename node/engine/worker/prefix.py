"""How long two sequences of tokens are the same."""

from __future__ import annotations


def common_prefix(one: list[int], other: list[int], limit: int) -> int:
    """How many of the first `limit` tokens are the same, by halving: slices are compared far faster than items."""
    low, high = 0, max(0, limit)
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def reusable_prefix(held: list[int], tokens: list[int], *, beyond: int, partial: bool) -> int:
    """How many of the tokens of a request need not be computed where `held` is in the cache already.

    Args:
        held: What was computed.
        tokens: The request's; its last one is always computed, since its logits are needed.
        beyond: Fewer than this or as many are of no interest.
        partial: Whether a part of what is held can be used; else it is all of it or nothing.

    Returns:
        More than `beyond`, or 0.
    """
    most = min(len(held), len(tokens) - 1)
    if most <= beyond or (not partial and most < len(held)):
        return 0
    length = common_prefix(held, tokens, most)
    return length if length > beyond and (partial or length == len(held)) else 0
