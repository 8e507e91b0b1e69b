"""What attacks on a rollup's liveness cost at its parameters, and what watching earns: values in, values out."""

from __future__ import annotations

import msgspec

from chain.delays import Delays


class Stakes(msgspec.Struct, frozen=True, kw_only=True):
    """What is at stake, beside the delays."""

    min_bond_wei: int
    turn_s: int


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What L1 asks for."""

    gas_price_wei: int
    block_s: int
    batch_gas: int
    """Of a small batch."""
    commit_gas: int
    prove_gas: int
    claim_gas: int


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody pays, gets, and has locked; wei."""

    lost_wei: int
    """Burnt, paid to others, and gas."""
    locked_wei: int
    """Bonds that come back."""
    gained_wei: int = 0


def fraud_s(delays: Delays, costs: Costs) -> int:
    """How long a wrong batch holds up those behind it: a block for the commitment, then the reveal delay."""
    return (delays.reveal_delay_blocks + 1) * costs.block_s


def fraud(stakes: Stakes, costs: Costs, *, wins_race: bool) -> Price:
    """One wrong batch that is proven.

    Args:
        stakes: What is at stake.
        costs: What L1 asks for.
        wins_race: Whether the liar's friend proves it before anybody else, and gets the reward.
    """
    proof_gas = costs.commit_gas + costs.prove_gas + costs.claim_gas if wins_race else 0
    gas_wei = (costs.batch_gas + proof_gas) * costs.gas_price_wei
    burnt_wei = stakes.min_bond_wei - stakes.min_bond_wei // 2
    return Price(lost_wei=(burnt_wei if wins_race else stakes.min_bond_wei) + gas_wei, locked_wei=0)


def delay_finality(delays: Delays, stakes: Stakes, costs: Costs, *, seconds: int) -> Price:
    """Hold finality up for so long, by wrong batches one after the other, and every race for the reward won."""
    each = fraud(stakes, costs, wins_race=True)
    times = -(-seconds // fraud_s(delays, costs))
    return Price(lost_wei=times * each.lost_wei, locked_wei=stakes.min_bond_wei)


def halt_by_silence_s(delays: Delays, stakes: Stakes, *, seats: int) -> int:
    """How long silent sequencers with so many seats in a row hold up posting, where somebody forces a message.

    Each lasts its turn and nobody is taken over from sooner than the takeover delay allows.
    """
    return min(seats * stakes.turn_s, delays.takeover_delay_s)


def halt_by_fraud(delays: Delays, stakes: Stakes, costs: Costs, *, seconds: int) -> Price:
    """Hold posting up beyond the takeover delay: as long as each wrong batch stands, nothing honest can follow it."""
    return delay_finality(delays, stakes, costs, seconds=seconds)


def watching(stakes: Stakes, costs: Costs) -> Price:
    """What a watchtower pays for one proof, and what it gets for the first of a bond."""
    gas = costs.commit_gas + costs.prove_gas + costs.claim_gas
    return Price(lost_wei=gas * costs.gas_price_wei, locked_wei=0, gained_wei=stakes.min_bond_wei // 2)
