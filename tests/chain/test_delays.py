"""Whoever forces in time is paid, whatever the leader does; and each inequality is needed.

The model is an adversarial leader's whole freedom: when it posts its close and how far L2 lags then, how far L2 runs
ahead, what it leaves out for as long as the contract lets it, and how many bonds it burns on wrong batches that take
the message back again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from chain.delays import (
    Delays,
    broken_rules,
    execution_s,
    force_by_s,
    least_close_delay_s,
    least_freeze_delay_s,
    prover_margin_s,
    reaction_s,
    succession_s,
)
from chain.devnet.config import DevnetParams
from chain.l1.deploy import DeployParams
from chain.state import GENESIS_ROOT
from tests.docs.pages import ROOT, table_under

FIELDS = Delays.__struct_fields__
DAY_S, HOUR_S = 86_400, 3_600
PRODUCTION = Delays(
    challenge_window_s=7 * DAY_S,
    force_delay_s=12 * HOUR_S,
    takeover_delay_s=24 * HOUR_S,
    freeze_delay_s=14 * DAY_S,
    close_delay_s=3 * DAY_S,
    unstake_delay_s=8 * DAY_S,
    reveal_delay_blocks=10,
    max_time_ahead_s=60,
)


@dataclass(frozen=True)
class Schedule:
    """What the leader and its friends choose, and what the honest need; seconds."""

    lag_s: int
    """How far L2 lags L1 when the close is executed."""
    reaction_s: int
    """From the close on L1 to the payee's message there."""
    withheld_s: int
    """From the message to the first batch that the leader posts after it."""
    leaves_out: bool
    """Whether that batch leaves the message out."""
    ahead_s: int
    """How far L2 runs ahead in the batch that executes it."""
    frauds: tuple[int, ...]
    """Wrong batches that execute it, one after the other: how long each stands."""
    honest_s: int
    """How long a successor takes to post once it may."""


def executed_at_s(delays: Delays, schedule: Schedule, message_s: int) -> int:
    """The L2 time at which a message that arrived on L1 is executed for good."""
    posted_s = message_s + schedule.withheld_s
    if schedule.leaves_out and schedule.withheld_s <= delays.force_delay_s:
        posted_s = message_s + delays.takeover_delay_s  # the leader posts nothing more that would have to execute it
    # Past the takeover delay anyone may post, and somebody honest does.
    posted_s = min(posted_s, message_s + delays.takeover_delay_s + schedule.honest_s)
    for stands_s in schedule.frauds:
        posted_s += stands_s + schedule.honest_s
    return posted_s + schedule.ahead_s


def is_paid(delays: Delays, schedule: Schedule) -> bool:
    """Whether the payee's redeem is executed before the channel is over."""
    over_at_s = -schedule.lag_s + delays.close_delay_s
    return executed_at_s(delays, schedule, schedule.reaction_s) <= over_at_s


@st.composite
def delays_that_hold(draw: st.DrawFn) -> Delays:
    force_s = draw(st.integers(1, 100))
    takeover_s = force_s + draw(st.integers(0, 100))
    ahead_s = draw(st.integers(0, 50))
    window_s = draw(st.integers(2, 200))
    least_s = 2 * force_s + takeover_s + ahead_s
    return Delays(
        challenge_window_s=window_s,
        force_delay_s=force_s,
        takeover_delay_s=takeover_s,
        freeze_delay_s=window_s + takeover_s + force_s + draw(st.integers(0, 9)),
        close_delay_s=least_s + draw(st.integers(0, 9)),
        unstake_delay_s=least_s + draw(st.integers(0, 9)),
        reveal_delay_blocks=draw(st.integers(1, window_s - 1)),
        max_time_ahead_s=ahead_s,
    )


@st.composite
def schedules(draw: st.DrawFn, delays: Delays) -> Schedule:
    """Everything that the contract and the margins allow."""
    left_s = succession_s(delays)
    honest_s = draw(st.integers(0, left_s))
    left_s -= honest_s
    frauds: list[int] = []
    while left_s > honest_s and draw(st.booleans()):
        frauds.append(draw(st.integers(0, left_s - honest_s)))
        left_s -= frauds[-1] + honest_s
    return Schedule(
        lag_s=draw(st.integers(0, delays.force_delay_s)),
        reaction_s=draw(st.integers(0, reaction_s(delays))),
        withheld_s=draw(st.integers(0, 2 * delays.takeover_delay_s)),
        leaves_out=draw(st.booleans()),
        ahead_s=draw(st.integers(0, delays.max_time_ahead_s)),
        frauds=tuple(frauds),
        honest_s=honest_s,
    )


@st.composite
def both(draw: st.DrawFn) -> tuple[Delays, Schedule]:
    delays = draw(delays_that_hold())
    return delays, draw(schedules(delays))


@given(both())
def test_a_payee_that_forces_within_its_margin_is_always_paid(given_both: tuple[Delays, Schedule]) -> None:
    delays, schedule = given_both

    assert not broken_rules(delays)
    assert is_paid(delays, schedule)


@given(both(), st.integers(0, 10_000))
def test_what_is_forced_by_the_time_that_is_told_is_executed_before_the_end(
    given_both: tuple[Delays, Schedule], over_at_s: int
) -> None:
    """The same for an expiry, or a stake's unlocking, that lies wherever it lies."""
    delays, schedule = given_both

    assert executed_at_s(delays, schedule, force_by_s(delays, over_at_s)) <= over_at_s


@pytest.mark.parametrize("short_by_s", [1, 7])
def test_a_shorter_close_delay_has_a_schedule_by_which_the_payee_gets_nothing(short_by_s: int) -> None:
    delays = msgspec.structs.replace(PRODUCTION, close_delay_s=least_close_delay_s(PRODUCTION) - short_by_s)

    assert list(broken_rules(delays)) == [6]
    assert not is_paid(delays, worst(delays))
    with pytest.raises(NoSuchExample):
        find(schedules(PRODUCTION), lambda schedule: not is_paid(PRODUCTION, schedule))


def test_hypothesis_finds_the_schedule_that_robbed_the_payee() -> None:
    """The delays that were meant for production before: force 12 h, takeover 24 h, close 12 h."""
    before = msgspec.structs.replace(PRODUCTION, close_delay_s=12 * HOUR_S)

    robbed = find(schedules(before), lambda schedule: not is_paid(before, schedule))

    assert robbed.withheld_s > 0 or robbed.leaves_out
    assert not is_paid(before, replace(robbed, reaction_s=0, frauds=()))


def worst(delays: Delays) -> Schedule:
    """The leader takes everything that it can."""
    return Schedule(
        lag_s=delays.force_delay_s,
        reaction_s=reaction_s(delays),
        withheld_s=2 * delays.takeover_delay_s,
        leaves_out=True,
        ahead_s=delays.max_time_ahead_s,
        frauds=(succession_s(delays),),
        honest_s=0,
    )


@given(both())
def test_nobody_freezes_a_rollup_by_one_fraud_that_stands_for_its_whole_window(
    given_both: tuple[Delays, Schedule],
) -> None:
    """Its messages wait again with their age; whoever is honest executes them within the succession's margin."""
    delays, schedule = given_both
    honest_s = min(schedule.honest_s, delays.force_delay_s // 2)
    posted_s = delays.takeover_delay_s + honest_s
    executed_s = posted_s + delays.challenge_window_s + honest_s

    assert executed_s <= least_freeze_delay_s(delays) <= delays.freeze_delay_s
    shorter = msgspec.structs.replace(delays, freeze_delay_s=least_freeze_delay_s(delays) - 1)
    assert list(broken_rules(shorter)) == [8]


def test_the_lag_the_takeover_and_the_time_ahead_are_all_in_the_least_close_delay() -> None:
    assert least_close_delay_s(PRODUCTION) == 12 * HOUR_S + 24 * HOUR_S + 12 * HOUR_S + 60
    assert execution_s(PRODUCTION) == 24 * HOUR_S + 6 * HOUR_S + 60
    assert prover_margin_s(PRODUCTION, block_s=12) == 7 * DAY_S - 120


@pytest.mark.parametrize(
    "delays",
    [
        PRODUCTION,
        DevnetParams(),
        DevnetParams.with_window(2),
        DevnetParams.with_window(3_600),
    ],
    ids=["production", "devnet", "short", "long"],
)
def test_every_set_of_delays_that_is_meant_to_be_used_keeps_the_rules(delays: object) -> None:
    kept = Delays(**{name: getattr(delays, name) for name in FIELDS})

    assert broken_rules(kept) == {}


def test_the_production_column_of_the_page_is_what_is_tested_here() -> None:
    rows = {row[0].split(",")[0]: row[2] for row in table_under(ROOT / "docs" / "rollup.md", "| Parameter |")}
    units = {"hours": HOUR_S, "days": DAY_S, "s": 1, "L1 blocks": 1, "ether": 1}
    told = {}
    for name, text in rows.items():
        number, _, unit = text.partition(" ")
        if unit in units:
            told[name.replace(" ", "_")] = int(number) * units[unit]

    assert told["challenge_window"] == PRODUCTION.challenge_window_s
    for name in ("force_delay", "takeover_delay", "freeze_delay", "close_delay", "unstake_delay"):
        assert told[name] == getattr(PRODUCTION, f"{name}_s")
    assert told["time_ahead"] == PRODUCTION.max_time_ahead_s
    assert told["reveal_delay"] == PRODUCTION.reveal_delay_blocks


def test_what_a_rollup_is_deployed_with_by_default_is_ahead_by_as_much_as_the_devnet() -> None:
    fields = {name: 1 for name in FIELDS if name != "max_time_ahead_s"}
    assert DeployParams(l2_chain_id=1, genesis_root=GENESIS_ROOT, **fields).max_time_ahead_s == (
        DevnetParams().max_time_ahead_s
    )
