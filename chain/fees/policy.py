"""What an operator may set about fees."""

from __future__ import annotations

import msgspec


class FeePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How fees follow L1's cost and the traffic, beside the least fee of any transaction."""

    ether_price_nano: int = 0
    """What an ether costs. 0 where it costs nothing, as on the embedded L1: then only the least fee counts."""
    gas_per_byte: int = 40
    """L1's gas for a byte of calldata that isn't zero: EIP-7623's floor, which long batches pay."""
    gas_per_tx: int = 400
    """A transaction's share in its frame's head and in what every batch costs, in a batch of a few hundred."""
    claim_gas: int = 95_000
    """What paying out one withdrawal on L1 takes."""
    max_claim_nano: int = 2 * 10**9
    """The most that a claim may cost for fees to pay for it; where it costs more, the owner claims, or waits."""
    step_s: float = 12.0
    """How often the price may move by an eighth: L1's own rhythm."""
    target_bytes: int = 1_000_000
    """L2 bytes in one step, beyond which the price rises."""
    max_congestion: int = 64
    """The most that traffic alone multiplies a price by."""
    quote_valid_s: float = 30.0
    """How long a quote is honoured although the price rose meanwhile."""
    redeems_per_open: int = 16
    """How many redeems the fee of opening a channel pays for."""
    redeems_per_top_up: int = 4
    """How many more the fee of a top-up pays for."""
    max_redeems: int = 64
    """The most that a channel may have left."""
