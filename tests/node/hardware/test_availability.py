"""Whose machine it is: hours, programs, people, use, heat and power; and no fluttering between."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.hardware.availability import (
    AT_ONCE,
    HELD_S,
    OVERRIDE,
    AvailabilityPolicy,
    AvailabilityState,
    Available,
    MachineActivity,
    Pause,
    debounce,
    decide,
)
from node.hardware.rules import AvailabilityRules
from node.hardware.week import HoursError

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=BERLIN).timestamp()  # a Friday


def rules(**changes) -> AvailabilityPolicy:
    return AvailabilityPolicy(AvailabilityRules(**changes), BERLIN)


def kind(activity=None, *, paused_by="", now_s=NOON, **changes) -> str:
    found = decide(now_s, activity or MachineActivity(), rules(**changes), paused_by=paused_by)
    return found.kind if isinstance(found, Pause) else ""


def test_a_machine_that_nobody_else_wants_is_rented_out():
    assert decide(NOON, MachineActivity(), rules()) == Available()


@pytest.mark.parametrize(
    ("activity", "changes", "expected"),
    [
        (MachineActivity(wanted_by=("blender",)), {}, "program"),
        (MachineActivity(input_idle_s=5.0), {"person_idle_minutes": 1}, "person"),
        (MachineActivity(input_idle_s=61.0), {"person_idle_minutes": 1}, ""),
        (MachineActivity(input_idle_s=5.0), {}, ""),
        (MachineActivity(), {"person_idle_minutes": 1}, ""),
        (MachineActivity(temperature_c=84.0), {"max_temperature_c": 83}, "temperature"),
        (MachineActivity(temperature_c=83.0), {"max_temperature_c": 83}, ""),
        (MachineActivity(power_w=301.0), {"max_power_w": 300}, "power"),
        (MachineActivity(gpu_percent=31.0), {}, "gpu"),
        (MachineActivity(gpu_percent=29.0), {}, ""),
        (MachineActivity(gpu_percent=99.0), {"foreign_gpu_percent": 0}, ""),
        (MachineActivity(foreign_cpu_percent=60.0), {"foreign_cpu_percent": 50}, "cpu"),
        (MachineActivity(foreign_cpu_percent=99.0), {}, ""),
        (MachineActivity(), {"hours": ("sat,sun",)}, "hours"),
        (MachineActivity(), {"hours": ("fri",)}, ""),
        (MachineActivity(), {"quiet_hours": ("11:00-13:00",)}, "quiet_hours"),
        (MachineActivity(wanted_by=("x",), gpu_percent=99.0), {"enabled": False, "hours": ("sat",)}, ""),
    ],
)
def test_each_rule_pauses_for_its_own_reason_only(activity, changes, expected):
    assert kind(activity, **changes) == expected


def test_every_pause_says_why_what_would_change_it_and_how_to_override_it():
    activity = MachineActivity(
        input_idle_s=1.0, hottest="RTX", temperature_c=99.0, power_w=900.0, gpu_user="game", gpu_percent=80.0,
        foreign_cpu_percent=90.0, wanted_by=("blender", "steam"),
    )  # fmt: skip
    everything = {
        "hours": {"hours": ("sat",)},
        "quiet_hours": {"quiet_hours": ("11:00-13:00",)},
        "program": {"pause_for": ("blender",)},
        "person": {"person_idle_minutes": 5},
        "temperature": {"max_temperature_c": 80},
        "gpu": {},
        "cpu": {"foreign_cpu_percent": 50, "foreign_gpu_percent": 0},
        "power": {"max_power_w": 300, "foreign_gpu_percent": 0},
    }
    for name, changes in everything.items():
        seen = activity if name == "program" else msgspec.structs.replace(activity, wanted_by=())
        found = decide(NOON, seen, rules(**changes))
        assert isinstance(found, Pause)
        assert found.kind == name
        assert found.reason.endswith(".")
        assert OVERRIDE in found.fix
        assert "[availability]" in found.fix
    named = decide(NOON, msgspec.structs.replace(activity, wanted_by=()), rules())
    assert named.reason == "game uses 80 % of a GPU."


def test_a_pause_by_the_clock_says_when_it_ends():
    quiet = decide(NOON, MachineActivity(), rules(quiet_hours=("11:00-13:00",)))
    assert quiet.until_s == NOON + 3600
    assert "until 13:00" in quiet.reason
    person = decide(NOON, MachineActivity(input_idle_s=20.0), rules(person_idle_minutes=1))
    assert NOON + 40 <= person.until_s <= NOON + 41
    never = decide(NOON, MachineActivity(), rules(quiet_hours=("mon-sun",)))
    assert never.until_s is None
    assert never.reason == "These are quiet hours."


@given(
    st.lists(st.sampled_from(["mon-fri 18:00-08:00", "sat,sun", "22:00-06:00", "12:30-12:31"])),
    st.integers(0, 14 * 1440),
)
@settings(max_examples=60, deadline=None)
def test_outside_its_hours_a_machine_is_never_rented_out_and_it_goes_on_when_they_begin(hours, minutes):
    now_s = NOON + 60 * minutes
    policy = rules(hours=tuple(hours))
    found = decide(now_s, MachineActivity(), policy)
    if isinstance(found, Pause):
        assert hours
        assert found.until_s > now_s
        assert decide(found.until_s, MachineActivity(), policy) == Available()
        assert isinstance(decide(found.until_s - 60, MachineActivity(), policy), Pause)
    else:
        assert not hours or policy.hours.holds(now_s, BERLIN)


@pytest.mark.parametrize(
    ("name", "activity", "changes"),
    [
        ("temperature", MachineActivity(temperature_c=80.0), {"max_temperature_c": 83}),
        ("power", MachineActivity(power_w=250.0), {"max_power_w": 300}),
        ("gpu", MachineActivity(gpu_percent=25.0), {}),
        ("cpu", MachineActivity(foreign_cpu_percent=40.0), {"foreign_cpu_percent": 50}),
    ],
)
def test_what_paused_must_fall_well_below_its_threshold_to_go_on(name, activity, changes):
    assert kind(activity, **changes) == ""
    assert kind(activity, paused_by=name, **changes) == name
    assert kind(activity, paused_by="program", **changes) == ""


def test_hours_that_can_not_be_read_are_refused():
    with pytest.raises(HoursError, match=r"availability\.quiet_hours"):
        rules(quiet_hours=("whenever",))


# Settlement

HOT = Pause(kind="temperature", reason="", fix="")
GAME = Pause(kind="program", reason="", fix="")
QUIET = Pause(kind="quiet_hours", reason="", fix="")


def walk(decisions, resume_after_s=60.0, step_s=1.0):
    state, seen = AvailabilityState(), []
    for number, decision in enumerate(decisions):
        state = debounce(number * step_s, decision, state, resume_after_s=resume_after_s)
        seen.append(state.decision)
    return seen


def test_a_peak_does_not_pause_and_a_lasting_heat_does():
    assert walk([HOT] * int(HELD_S) + [Available()] * 3) == [Available()] * (int(HELD_S) + 3)
    assert walk([HOT] * (int(HELD_S) + 1))[-1] == HOT


def test_a_program_pauses_at_once():
    assert walk([GAME]) == [GAME]


def test_the_machine_must_have_been_free_for_a_while():
    seen = walk([GAME, *([Available()] * 70)])
    assert seen[:61] == [GAME] * 61
    assert seen[61] == Available()


def test_quiet_hours_end_when_they_end():
    assert walk([QUIET, Available()]) == [QUIET, Available()]


def test_another_reason_takes_over_without_a_gap():
    assert walk([GAME, QUIET, HOT]) == [GAME, QUIET, HOT]


@given(
    st.lists(st.tuples(st.sampled_from([Available(), HOT, GAME, QUIET]), st.floats(0.2, 30)), max_size=60),
    st.floats(0, 120),
)
@settings(max_examples=150, deadline=None)
def test_going_on_never_comes_sooner_than_asked_and_pausing_never_without_a_reason(steps, resume_after_s):
    state, now_s, last_pause_s = AvailabilityState(), 0.0, {}
    for decision, seconds in steps:
        now_s += seconds
        before = state
        state = debounce(now_s, decision, before, resume_after_s=resume_after_s)
        if isinstance(decision, Pause):
            last_pause_s[decision.kind] = now_s
            if decision.kind in AT_ONCE:
                assert state.decision == decision
        if isinstance(before.decision, Pause) and isinstance(state.decision, Available):
            assert isinstance(decision, Available)
            if before.decision.kind not in {"hours", "quiet_hours", "person"}:
                assert now_s - max(last_pause_s.values()) >= resume_after_s or resume_after_s == 0
        if isinstance(state.decision, Pause) and isinstance(before.decision, Available):
            assert state.decision == decision
