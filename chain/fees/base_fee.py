"""How the price moves: after L1's gas price, smoothed, and with the traffic, as EIP-1559 moves L1's own.

Everything is in whole numbers. One step changes either part by an eighth at most, so nobody who reads a wrong gas price
once, or fills one step, changes what others pay by more.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chain.fees.policy import FeePolicy

ONE: Final = 1_024
"""A congestion of 1: prices at rest."""
_SHARE: Final = 8
_MAX_STEPS: Final = 256
"""After so many quiet steps every price is at rest."""


class FeeState(msgspec.Struct, frozen=True):
    """Where the price stands."""

    congestion: int = ONE
    """What traffic multiplies the price by, in 1,024ths."""
    gas_price_wei: int = 0
    """L1's gas price, smoothed; 0 before it was ever seen."""


def stepped(state: FeeState, policy: FeePolicy, used_bytes: int, seen_gas_price_wei: int | None) -> FeeState:
    """The state after one step.

    Args:
        state: Before it.
        policy: The operator's.
        used_bytes: L2 bytes that were taken during it.
        seen_gas_price_wei: What L1 asked for last; ``None`` if it wasn't asked.
    """
    return FeeState(
        congestion=_congestion(state.congestion, policy, used_bytes),
        gas_price_wei=_smoothed(state.gas_price_wei, seen_gas_price_wei),
    )


def stepped_often(
    state: FeeState, policy: FeePolicy, steps: int, used_bytes: int, seen_gas_price_wei: int | None
) -> FeeState:
    """The state after several steps, of which only the first took any bytes."""
    for number in range(min(steps, _MAX_STEPS)):
        state = stepped(state, policy, 0 if number else used_bytes, seen_gas_price_wei)
    return state


def _congestion(before: int, policy: FeePolicy, used_bytes: int) -> int:
    target = max(1, policy.target_bytes)
    excess = min(used_bytes, 2 * target) - target
    change = before * excess // (target * _SHARE)
    if excess > 0:
        change = max(1, change)
    return max(ONE, min(before + change, ONE * max(1, policy.max_congestion)))


def _smoothed(before_wei: int, seen_wei: int | None) -> int:
    if seen_wei is None:
        return before_wei
    if before_wei == 0:
        return max(0, seen_wei)
    most = max(1, before_wei // _SHARE)
    return before_wei + max(-most, min(seen_wei - before_wei, most))
