"""What a withdrawal's claim is worth to somebody who pays it out before it is final; values in, values out."""

from __future__ import annotations

import msgspec

YEAR_S = 365 * 24 * 3600
PPM = 1_000_000
"""Parts in a whole, for rates and risks."""


class PricingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody who offers liquidity prices it, and how much it risks."""

    annual_rate_ppm: int = 200_000
    """What its money shall earn in a year, in millionths; 20 % unless told otherwise."""
    risk_ppm: int = 500
    """What it takes for the risk that the batch is taken back, in millionths of the amount, where nobody vouches."""
    ether_price_nano: int = 0
    """What one ether of gas costs, in nano of the asset; 0 where ether is worth nothing, as on a devnet."""
    least_fee_nano: int = 1_000
    """It buys nothing for less."""
    max_exposure_nano: int
    """What it pays out at most for claims that are not paid yet."""
    attestations: int = 0
    """How many bonded watchtowers must vouch for the batch."""
    buys_unverified: bool = False
    """Whether it buys from batches that its own watchtower didn't execute again."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about a claim that is for sale."""

    amount_nano: int
    seconds_left: int
    """Until it may be paid: the rest of its batch's challenge window, 0 where it is final."""
    is_verified: bool
    """Whether the own watchtower executed its batch and every one before it, and came to the same roots."""
    attesters: int
    """How many bonded watchtowers vouch for it."""
    bonded_wei: int
    """What they put up together."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the buyer stands."""

    exposure_nano: int
    """What it paid out for claims that are not paid yet."""
    held_nano: int
    """What it has on L1."""
    gas_wei: int
    """What buying and claiming cost now."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a claim isn't bought at any fee."""

    reason: str
    """A word: ``unverified``, ``attestations``, ``exposure`` or ``funds``."""


def gas_nano(gas_wei: int, ether_price_nano: int) -> int:
    """What an amount of gas costs in nano of the asset, rounded up."""
    return -(-gas_wei * ether_price_nano // 10**18)


def demanded_fee_nano(claim: Claim, policy: PricingPolicy, standing: Standing) -> int | Refusal:
    """The least fee for which a claim is worth buying, or why none is.

    It is what the money would earn elsewhere for the rest of the window, what the gas costs, and a premium for the risk
    that the batch is taken back: once it was executed again here a quarter of what it is otherwise, and less the more
    bonded watchtowers vouch for it. A final claim bears no such risk.

    Args:
        claim: What is for sale.
        policy: The buyer's rates and limits.
        standing: What the buyer has and risks already.
    """
    if not claim.is_verified and not policy.buys_unverified:
        return Refusal(reason="unverified")
    if claim.attesters < policy.attestations:
        return Refusal(reason="attestations")
    if standing.exposure_nano + claim.amount_nano > policy.max_exposure_nano:
        return Refusal(reason="exposure")
    if standing.held_nano < claim.amount_nano:
        return Refusal(reason="funds")
    interest = _up(claim.amount_nano * policy.annual_rate_ppm * claim.seconds_left, PPM * YEAR_S)
    gas = gas_nano(standing.gas_wei, policy.ether_price_nano)
    return max(interest + gas + _risk_nano(claim, policy), policy.least_fee_nano)


def _risk_nano(claim: Claim, policy: PricingPolicy) -> int:
    if claim.seconds_left == 0 and claim.is_verified:
        return 0
    share = 4 if claim.is_verified else 1
    # A watchtower with nothing at stake says nothing.
    vouched = 1 + (claim.attesters if claim.bonded_wei else 0)
    return _up(claim.amount_nano * policy.risk_ppm, PPM * share * vouched)


def _up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
