"""What attacks on liveness cost and what watching earns: computed from the parameters and from measured gas."""

from __future__ import annotations

from pathlib import Path

from chain.economics import (
    Costs,
    Price,
    Stakes,
    delay_finality,
    fraud,
    fraud_s,
    halt_by_fraud,
    halt_by_silence_s,
    watching,
)
from chain.signing import keccak256
from tests.chain.test_delays import DAY_S, HOUR_S, PRODUCTION
from tests.docs.pages import ROOT, table_under
from tests.villains.arena import ETHER, OPERATOR, PARAMS, SECOND, Arena, arena
from tests.villains.fixtures import template as template
from tests.villains.lies import plan_lie

GWEI = 10**9
STAKES = Stakes(min_bond_wei=10 * ETHER, turn_s=HOUR_S)
COSTS = Costs(
    gas_price_wei=10 * GWEI, block_s=12, batch_gas=200_000, commit_gas=50_000, prove_gas=240_000, claim_gas=50_000
)
"""Gas rounded up from what the last test measures; proofs of other frames take up to a million."""


def ether(wei: int) -> str:
    return f"{wei / ETHER:,.4f} ether"


def told() -> list[list[str]]:
    """The table of the page."""
    window_s = PRODUCTION.challenge_window_s
    window = delay_finality(PRODUCTION, STAKES, COSTS, seconds=window_s)
    day = halt_by_fraud(PRODUCTION, STAKES, COSTS, seconds=DAY_S)
    seats = -(-DAY_S // STAKES.turn_s)
    race, watch = fraud(STAKES, COSTS, wins_race=True), watching(STAKES, COSTS)
    return [
        ["one lie that others prove", ether(fraud(STAKES, COSTS, wins_race=False).lost_wei), "nothing"],
        ["the race for the reward of one's own lie", ether(race.lost_wei), "nothing: half of the own bond"],
        [f"no batch final for a window ({window_s // DAY_S} days), by lies in a row", ether(window.lost_wei), "time"],
        ["no batch stands for a day, by lies in a row", ether(day.lost_wei), "time"],
        [
            f"no batch for a day, by silence: {seats} seats in a row",
            f"nothing; {ether(seats * STAKES.min_bond_wei)} locked",
            "time, up to the takeover delay where a message is forced",
        ],
        ["a watchtower's proof", ether(watch.lost_wei), ether(watch.gained_wei)],
    ]


def test_the_page_tells_what_the_parameters_come_to() -> None:
    assert table_under(ROOT / "docs" / "rollup.md", "| What |") == told()


def test_lying_loses_at_least_half_of_a_bond_whoever_proves_it() -> None:
    for wins_race in (False, True):
        assert fraud(STAKES, COSTS, wins_race=wins_race).lost_wei > STAKES.min_bond_wei // 2


def test_every_reveal_delay_of_a_hold_up_costs_another_bond() -> None:
    one = delay_finality(PRODUCTION, STAKES, COSTS, seconds=1)
    two = delay_finality(PRODUCTION, STAKES, COSTS, seconds=fraud_s(PRODUCTION, COSTS) + 1)

    assert two.lost_wei == 2 * one.lost_wei
    assert one == Price(lost_wei=fraud(STAKES, COSTS, wins_race=True).lost_wei, locked_wei=STAKES.min_bond_wei)


def test_silence_lasts_for_the_turns_of_the_silent_and_no_longer_than_the_takeover_delay() -> None:
    assert halt_by_silence_s(PRODUCTION, STAKES, seats=1) == HOUR_S
    assert halt_by_silence_s(PRODUCTION, STAKES, seats=1_000) == PRODUCTION.takeover_delay_s


async def test_the_gas_that_is_counted_with_is_what_is_measured(template: Path, tmp_path: Path) -> None:
    async with arena(template, tmp_path) as where:
        lie = await plan_lie(where, where.sequencer.state, keccak256(b"measured"))
        posted = await lie.post(where.operator)
        commit = await where.second.commit_fraud(lie.proof.commitment(SECOND))
        await where.mine(PARAMS.reveal_delay_blocks)
        proven = await where.second.prove_fraud(lie.proof)
        await where.pass_time(PARAMS.challenge_window_s)
        await where.second.finalize()
        claim = await where.second.claim_reward(OPERATOR, 0)
        measured = [await _gas(where, tx) for tx in (posted.l1_tx, commit, proven.l1_tx, claim)]

    for gas, counted in zip(
        measured, (COSTS.batch_gas, COSTS.commit_gas, COSTS.prove_gas, COSTS.claim_gas), strict=True
    ):
        assert gas <= counted < 1.35 * gas, measured


async def _gas(where: Arena, l1_tx: bytes) -> int:
    gas = await where.prover.gas_used(l1_tx)
    assert gas is not None
    return gas
