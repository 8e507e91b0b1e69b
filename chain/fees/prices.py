"""What each kind of transaction costs: the L1 gas that it makes the operator pay, later work included."""

from __future__ import annotations

from typing import Final

import msgspec

from chain.fees.base_fee import ONE, FeeState
from chain.fees.policy import FeePolicy
from chain.txs import (
    CloseTogether,
    FinishUnstake,
    OpenChannel,
    Redeem,
    Stake,
    TopUp,
    Transfer,
    Unstake,
    Withdraw,
)
from chain.types import MAX_U32

WEI_PER_ETHER: Final = 10**18
PICO_PER_NANO: Final = 1_000


class Work(msgspec.Struct, frozen=True):
    """What one fee pays for on L1."""

    size_bytes: int
    txs: int
    claims: int = 0


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What the sequencer asks for at one moment."""

    transfer_nano: int
    withdraw_nano: int
    """Its claim on L1 included, which the operator sends."""
    open_channel_nano: int
    """Its close and some redeems included."""
    top_up_nano: int
    """Some more redeems included."""
    stake_nano: int
    unstake_nano: int
    """Its end included."""
    pays_claim: bool
    """Whether a withdrawal's fee pays for its claim; where gas is too dear for a fee, it doesn't."""
    min_redeem_nano: int
    """A redeem that brings less counts for several of those that its channel has left."""
    min_withdrawal_nano: int
    """A smaller withdrawal isn't worth its claim, and is refused."""

    def of(self, kind: str) -> int | None:
        """What a transaction of this kind costs; ``None`` for one that carries no fee."""
        return getattr(self, f"{kind}_nano") if kind in FEE_KINDS else None


FEE_KINDS: Final = frozenset(kind.KIND for kind in (Transfer, Withdraw, OpenChannel, TopUp, Stake, Unstake))
"""The kinds that carry a fee."""


def work_of(kind: str, policy: FeePolicy) -> Work:
    """What the fee of a kind of transaction pays for."""
    match kind:
        case Withdraw.KIND:
            return Work(Withdraw.SIZE, 1, claims=1)
        case OpenChannel.KIND:
            redeems = policy.redeems_per_open
            return Work(OpenChannel.SIZE + CloseTogether.SIZE + redeems * Redeem.SIZE, 2 + redeems)
        case TopUp.KIND:
            redeems = policy.redeems_per_top_up
            return Work(TopUp.SIZE + redeems * Redeem.SIZE, 1 + redeems)
        case Unstake.KIND:
            return Work(Unstake.SIZE + FinishUnstake.SIZE, 2)
        case Stake.KIND:
            return Work(Stake.SIZE, 1)
        case Redeem.KIND:
            return Work(Redeem.SIZE, 1)
        case Transfer.KIND:
            return Work(Transfer.SIZE, 1)
        case _:
            raise ValueError(f"{kind} carries no fee")


def gas_nano(gas: int, gas_price_wei: int, policy: FeePolicy) -> int:
    """What an amount of L1 gas costs, rounded up."""
    return -(-gas * gas_price_wei * policy.ether_price_nano // WEI_PER_ETHER)


def l1_cost_nano(work: Work, state: FeeState, policy: FeePolicy) -> int:
    """What work costs the operator on L1, at the smoothed gas price."""
    gas = work.size_bytes * policy.gas_per_byte + work.txs * policy.gas_per_tx + work.claims * policy.claim_gas
    return gas_nano(gas, state.gas_price_wei, policy)


def price_nano(work: Work, state: FeeState, policy: FeePolicy, min_fee_nano: int) -> int:
    """What work costs whoever asks for it: never less than it costs on L1, nor than the least fee.

    Traffic makes L2's bytes dearer, and not the claims on L1. A fee has 32 bits: what doesn't fit isn't paid.
    """
    claims_nano = claim_nano(state, policy) * work.claims if pays_claim(state, policy) else 0
    gas = work.size_bytes * policy.gas_per_byte + work.txs * policy.gas_per_tx
    bytes_nano = max(min_fee_nano, gas_nano(gas, state.gas_price_wei, policy))
    return min(MAX_U32, -(-bytes_nano * state.congestion // ONE) + claims_nano)


def claim_nano(state: FeeState, policy: FeePolicy) -> int:
    """What claiming one withdrawal costs on L1."""
    return gas_nano(policy.claim_gas, state.gas_price_wei, policy)


def pays_claim(state: FeeState, policy: FeePolicy) -> bool:
    """Whether a withdrawal's fee pays for its claim."""
    return claim_nano(state, policy) <= policy.max_claim_nano


def prices_of(state: FeeState, policy: FeePolicy, min_fee_nano: int) -> Prices:
    """Every price at one moment."""

    def price(kind: str) -> int:
        return price_nano(work_of(kind, policy), state, policy, min_fee_nano)

    return Prices(
        transfer_nano=price(Transfer.KIND),
        withdraw_nano=price(Withdraw.KIND),
        open_channel_nano=price(OpenChannel.KIND),
        top_up_nano=price(TopUp.KIND),
        stake_nano=price(Stake.KIND),
        unstake_nano=price(Unstake.KIND),
        min_redeem_nano=price(Redeem.KIND),
        min_withdrawal_nano=max(price(Withdraw.KIND), claim_nano(state, policy)),
        pays_claim=pays_claim(state, policy),
    )


def base_fee_pico(prices: Prices) -> int:
    """What one byte of a transfer costs, in thousandths of a nano: the figure that shows where prices stand."""
    return -(-prices.transfer_nano * PICO_PER_NANO // Transfer.SIZE)
