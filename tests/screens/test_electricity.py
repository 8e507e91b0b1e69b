"""The Dashboard says what power cost, what was left, and what is only an estimate."""

import msgspec
import pytest

from node.values import EnergyView, NetView, Phase, PriceAdvice, Prices
from screens.dashboard import energy_content, net_line, offer_content, phase_content
from screens.status import PHASE_MARKS
from tests.screens.fake_node import FakeNode, snapshot
from tests.screens.support import WIDE, make_app, seen, until, until_seen, until_told

NET = NetView(
    name="today", jobs=3, output_tokens=900, earned_nano=20_000_000, energy_mj=90_000_000, cost_nano=7_500_000,
    net_nano=12_500_000, is_estimate=True, unmeasured_jobs=0,
)  # fmt: skip
ENERGY = EnergyView(
    power_w=285.4, idle_w=41.0, is_estimate=False, basis="NVML measures RTX", nano_per_kwh=300_000_000,
    price_is_assumed=False, joules_per_token=2.5, today=NET, total=NET, hours=(), days=(),
    models=(msgspec.structs.replace(NET, name="qwen\x1b[31m"),), devices=(),
)  # fmt: skip
ADVICE = PriceAdvice(
    suggested=Prices(input_nano_per_mtok=120_000_000, output_nano_per_mtok=240_000_000),
    floor=Prices(input_nano_per_mtok=50_000_000, output_nano_per_mtok=200_000_000),
    basis="the median of 3 providers of the same model, by speed", floor_basis="measured over 9 jobs",
    is_estimate=True, offers=3,
)  # fmt: skip


def energy(**changes):
    return energy_content(msgspec.structs.replace(ENERGY, **changes)).plain


def test_the_net_is_what_was_earned_less_power_and_an_estimate_says_that_it_is_one():
    assert net_line(NET, "today").plain == "today earned $0.02, power $0.0075 (estimated), net $0.0125"
    measured = msgspec.structs.replace(NET, is_estimate=False, net_nano=-1_000_000, unmeasured_jobs=2)
    assert net_line(measured, "today").plain == "today earned $0.02, power $0.0075, net -$0.001 · 2 jobs unmeasured"


def test_the_panel_tells_watts_price_and_where_the_figures_come_from():
    text = energy()
    assert "285 W now · 41 W idle" in text
    assert "$0.30 a kWh" in text
    assert "2.5 J an output token" in text
    assert "NVML measures RTX" in text
    assert "\x1b" not in text
    assert "(assumed: set price_per_kwh)" in energy(price_is_assumed=True)
    assert "41 W idle (estimated)" in energy(is_estimate=True)


def test_a_loss_is_warned_of_with_its_fix():
    text = energy(warning="Today's power cost more.", fix="Raise the price.")
    assert "▲ Today's power cost more." in text
    assert "→ Raise the price." in text


def test_before_the_first_look_and_the_first_job_nothing_is_made_up():
    assert energy_content(None).plain == "No hardware was read yet."
    nothing = msgspec.structs.replace(NET, jobs=0)
    assert "net" not in energy(total=nothing, power_w=None, idle_w=None, joules_per_token=None)
    assert "net" not in phase_content(snapshot(energy=msgspec.structs.replace(ENERGY, total=nothing))).plain


def test_the_headline_carries_the_net_of_today():
    assert "power $0.0075 (estimated), net $0.0125" in phase_content(snapshot(energy=ENERGY)).plain


def test_a_pause_is_the_headline_with_its_reason_and_fix():
    paused = snapshot(phase=Phase.PAUSED, why="blender runs on this machine.", fix="Close it.")
    text = phase_content(paused).plain
    assert text.startswith(f"{PHASE_MARKS[Phase.PAUSED][0]} PAUSED  blender runs on this machine.")
    assert "→ Close it." in text


@pytest.mark.parametrize("advice", [ADVICE, None])
def test_the_offer_stands_beside_what_it_could_ask_and_what_power_costs(advice):
    text = offer_content(snapshot(price=advice)).plain
    assert ("$0.12 in · $0.24 out / Mtok: the median of 3 providers" in text) is (advice is not None)
    assert ("$0.05 in · $0.20 out / Mtok (estimated): measured over 9 jobs" in text) is (advice is not None)


def test_every_phase_has_its_mark():
    assert PHASE_MARKS.keys() == set(Phase)


async def test_a_pause_can_be_overridden_from_the_dashboard_and_only_then():
    node = FakeNode()
    async with make_app(node, first_mode="dashboard").run_test(size=WIDE) as pilot:
        await until_seen(pilot, "Electricity")
        await pilot.press("o")
        assert "Rent out regardless" not in seen(pilot.app)
        node.change("phase", phase=Phase.PAUSED, why="blender runs on this machine.", fix="Close it.")
        await until_seen(pilot, "PAUSED", "Rent out regardless")
        await pilot.press("o")
        await until_told(pilot, "60 minutes")
        await until(pilot, lambda: ("rent_out_regardless", 60) in node.calls)
        await until(pilot, lambda: "Rent out regardless" not in seen(pilot.app))
