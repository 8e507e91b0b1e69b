"""Joules: measured where something measures, said to be an estimate where not, and never more than what was taken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.hardware.energy import (
    INPUT_SHARE,
    OwnCpuUse,
    PowerEstimate,
    expected_token_energy,
    guess,
    measured_j,
    millijoules,
    next_baseline_w,
    share,
    spent,
    token_energy,
)
from node.hardware.energy_ledger import EnergyLedger
from node.hardware.reading import DeviceReading
from node.hardware.sampler import HardwareSample

GPU = DeviceReading(device_id="nvml:0", name="GPU", kind="gpu", source="nvml")
CPU = DeviceReading(device_id="cpu", name="CPU", kind="cpu", source="psutil")
POWER = PowerEstimate(10.0, 110.0)


def reading(base=GPU, **changes):
    return msgspec.structs.replace(base, **changes)


def took(before, after, seconds=2.0, own=None, baseline_w=None):
    return spent(before, after, seconds, own=own or OwnCpuUse(), baseline_w=baseline_w, power=POWER)


def test_a_counter_wins_over_watts_and_the_baseline_is_taken_off():
    found = took(reading(energy_j=100.0, power_w=1.0), reading(energy_j=700.0, power_w=1.0), baseline_w=50.0)
    assert (found.total_j, found.marginal_j, found.is_estimate, found.power_w) == (600.0, 500.0, False, 300.0)


def test_watts_are_taken_at_both_ends_where_nothing_counts():
    found = took(reading(power_w=100.0), reading(power_w=300.0), baseline_w=20.0)
    assert (found.total_j, found.marginal_j) == (400.0, 360.0)


def test_a_counter_that_began_again_or_leaps_is_not_believed():
    assert measured_j(reading(energy_j=5.0), reading(energy_j=1.0), 2.0) is None
    assert measured_j(reading(energy_j=5.0), reading(energy_j=1e12), 2.0) is None
    assert measured_j(reading(energy_j=5.0, power_w=7.0), reading(energy_j=1e12, power_w=7.0), 2.0) == 14.0


def test_where_nothing_measures_the_engines_own_processor_time_is_the_estimate():
    found = took(reading(CPU), reading(CPU, utilization_percent=100.0), own=OwnCpuUse(cpu_s=4.0, busy_s=8.0, cores=4))
    assert found.is_estimate
    assert (found.total_j, found.marginal_j) == (220.0, 100.0)


def test_a_gpu_that_tells_nothing_at_all_is_not_guessed_at():
    assert took(GPU, GPU) is None
    assert took(GPU, reading(utilization_percent=50.0)).marginal_j == 100.0


def test_a_measured_processor_is_billed_by_the_engines_part_of_it():
    before, after = reading(CPU, energy_j=0.0), reading(CPU, energy_j=100.0)
    assert took(before, after, own=OwnCpuUse(cpu_s=1.0, busy_s=4.0), baseline_w=10.0).marginal_j == 20.0
    assert took(before, after, own=OwnCpuUse(), baseline_w=10.0).marginal_j == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0])
def test_nothing_is_said_of_a_machine_that_slept(seconds):
    assert took(reading(power_w=1.0), reading(power_w=1.0), seconds) is None


readings = st.builds(
    lambda kind, power, energy, use: DeviceReading(
        device_id="d", name="d", kind=kind, source="s", power_w=power, energy_j=energy, utilization_percent=use
    ),
    st.sampled_from(["gpu", "cpu"]),
    st.none() | st.floats(0, 1000),
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 100),
)


@given(readings, readings, st.floats(0.01, 30), st.floats(0, 64), st.floats(0, 64), st.none() | st.floats(0, 500))
@settings(max_examples=150, deadline=None)
def test_the_jobs_never_cause_more_than_was_taken_nor_less_than_nothing(before, after, seconds, own, busy, baseline):
    after = msgspec.structs.replace(after, kind=before.kind)
    found = took(before, after, seconds, OwnCpuUse(cpu_s=own, busy_s=busy, cores=4), baseline)
    if found is not None:
        assert 0 <= found.marginal_j <= found.total_j
        assert found.is_estimate is (measured_j(before, after, seconds) is None)


@given(st.integers(0, 10**12), st.lists(st.floats(0, 1e6), max_size=20))
@settings(max_examples=150, deadline=None)
def test_shares_add_up_to_the_last_unit_and_are_never_negative(total, weights):
    parts = share(total, weights)
    assert sum(parts) == (total if weights else 0)
    assert all(part >= 0 for part in parts)
    assert len(parts) == len(weights)


def test_equal_weights_share_evenly_and_none_means_evenly():
    assert share(10, [1.0, 1.0, 1.0]) == (4, 3, 3)
    assert share(9, [0.0, 0.0, 0.0]) == (3, 3, 3)


def test_a_baseline_falls_at_once_and_rises_slowly():
    assert next_baseline_w(None, 80.0) == 80.0
    assert next_baseline_w(80.0, 20.0) == 20.0
    assert next_baseline_w(20.0, 120.0) == pytest.approx(22.0)


def test_a_guess_takes_what_a_person_said_then_the_limit_then_the_rule():
    assert guess(CPU, 8) == PowerEstimate(pytest.approx(10.5), 70.0)
    assert guess(CPU, 8, cpu_w=125.0).max_w == 125.0
    assert guess(CPU, 512).max_w == 350.0
    assert guess(reading(max_power_w=320.0), 8) == PowerEstimate(32.0, 320.0)
    assert guess(reading(max_power_w=320.0), 8, gpu_w=200.0).max_w == 200.0
    assert guess(GPU, 8).max_w == 150.0


# Jobs


def sample(at_s, power_w):
    return HardwareSample(at_s=at_s, devices=(reading(power_w=power_w),))


def test_a_job_is_billed_what_the_gpu_took_above_idling_while_it_ran():
    ledger = EnergyLedger()
    ledger.look(sample(0.0, 20.0), OwnCpuUse(), 300_000_000)
    ledger.look(sample(2.0, 20.0), OwnCpuUse(), 300_000_000)  # idle: 20 W is the baseline
    ledger.begin("a", 2.0)
    assert ledger.look(sample(4.0, 220.0), OwnCpuUse(), 300_000_000) == {}
    ledger.end("a", 5.0)
    (bill,) = ledger.look(sample(6.0, 220.0), OwnCpuUse(), 300_000_000)["a"]
    # (20+220)/2*2 - 40 = 200 J, then 440 - 40 = 400 J.
    assert (bill.device, bill.energy_mj, bill.is_estimate) == ("GPU", 600_000, False)
    assert bill.cost_nano == 50_000  # 600 J = 1/6000 kWh at 0.30
    assert ledger.running == frozenset()


def test_jobs_beside_each_other_share_by_the_time_they_ran():
    ledger = EnergyLedger()
    for at_s in (0.0, 2.0):
        ledger.look(sample(at_s, 0.0), OwnCpuUse(), 1)
    ledger.begin("long", 2.0)
    ledger.begin("short", 3.5)
    ledger.end("long", 4.0)
    ledger.end("short", 4.0)
    done = ledger.look(HardwareSample(at_s=4.0, devices=(reading(power_w=100.0),)), OwnCpuUse(), 1)
    assert (done["long"][0].energy_mj, done["short"][0].energy_mj) == (80_000, 20_000)


def test_a_job_shorter_than_a_look_is_billed_all_the_same():
    ledger = EnergyLedger()
    for at_s in (0.0, 2.0):
        ledger.look(sample(at_s, 10.0), OwnCpuUse(), 1)
    ledger.begin("blink", 2.5)
    ledger.begin("blink", 2.9)
    ledger.end("blink", 2.6)
    ledger.end("blink", 3.9)
    ledger.end("unknown", 3.9)
    assert ledger.look(sample(4.0, 30.0), OwnCpuUse(), 1)["blink"][0].energy_mj == 20_000


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20)), min_size=1, max_size=6),
    st.lists(st.floats(0, 400), min_size=30, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_what_the_jobs_are_billed_adds_up_to_what_was_marginal(jobs, watts):
    ledger = EnergyLedger()
    events = sorted(
        [(began, 0, "begin", n) for n, (began, _) in enumerate(jobs)]
        + [(began + lasted, 1, "end", n) for n, (began, lasted) in enumerate(jobs)]
    )
    billed = caused = 0
    for step, power_w in enumerate(watts):
        now_s = 2.0 * step
        while events and events[0][0] <= now_s:
            moment, _, what, n = events.pop(0)
            getattr(ledger, what)(str(n), moment)
        had_jobs = any(min(began + lasted, now_s) > max(began, now_s - 2.0) for began, lasted in jobs if step)
        done = ledger.look(sample(now_s, power_w), OwnCpuUse(), 1)
        if had_jobs:
            caused += sum(millijoules(one.marginal_j) for one in ledger.last)
        billed += sum(bill.energy_mj for shares in done.values() for bill in shares)
    left = sum(energy for account in ledger._jobs.values() for energy, _, _ in account.devices.values())
    assert billed + left == caused


# A token


def test_input_and_output_tokens_are_told_apart_where_the_jobs_differ():
    jobs = [
        (i, o, round(1000 * (0.02 * i + 0.5 * o))) for i, o in ((100, 50), (2000, 10), (10, 400), (500, 500), (1, 9))
    ]
    found = token_energy(jobs, is_estimate=False)
    assert found.input_j == pytest.approx(0.02, rel=1e-3)
    assert found.output_j == pytest.approx(0.5, rel=1e-3)
    assert found.basis == "measured over 5 jobs"


def test_jobs_that_are_all_alike_take_the_usual_share_for_input():
    found = token_energy([(100, 100, 125_000)] * 6, is_estimate=True)
    assert found.output_j == pytest.approx(1.0)
    assert found.input_j == pytest.approx(INPUT_SHARE)
    assert "estimated" in found.basis


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 10**9)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_token_never_takes_less_than_nothing(jobs):
    found = token_energy(jobs, is_estimate=False)
    if found is not None:
        assert found.input_j >= 0
        assert found.output_j >= 0


def test_before_any_job_full_power_at_the_speed_of_one_request_is_expected():
    found = expected_token_energy({"gpu": PowerEstimate(30.0, 330.0), "cpu": PowerEstimate(5.0, 5.0)}, 100.0)
    assert (found.output_j, found.input_j, found.is_estimate) == (3.0, 0.75, True)
    assert expected_token_energy({}, 100.0) is None
    assert expected_token_energy({"gpu": POWER}, 0.0) is None
