"""How every screen looks at 80x24 and 160x48, and one in the terminal's own colours: recorded SVGs."""

import pytest

from screens.widgets.prompt import Prompt
from tests.screens.fake_node import FakeNode, first_run, fraud, frozen, snapshot
from tests.screens.support import NARROW, WIDE, make_app, still, until, until_seen, write

SIZES = {"80x24": NARROW, "160x48": WIDE}
LANDMARKS = {
    "dashboard": "Renting out",
    "jobs": "cancelled",
    "models": "half-a-file",
    "market": "Mistral-Small-24B",
    "wallet": "closing",
    "chain": "challenge ends",
    "logs": "the sequencer did not answer",
}


async def settle(pilot):
    await pilot.pause()
    still(pilot.app)
    await pilot.pause()


def look_at(landmark, *keys):
    async def run(pilot):
        await until_seen(pilot, landmark)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)

    return run


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", LANDMARKS)
def test_screen(snap_compare, mode, size):
    assert snap_compare(make_app(first_mode=mode), terminal_size=SIZES[size], run_before=look_at(LANDMARKS[mode]))


async def answered(pilot):
    await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
    still(pilot.app)
    await write(pilot, "What is 17 + 25?")
    await pilot.press("enter")
    await until(pilot, lambda: not pilot.app.screen.running and len(pilot.app.screen.sessions) == 2)
    await until_seen(pilot, "print(17 + 25)")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
def test_chat(snap_compare, size):
    assert snap_compare(make_app(first_mode="chat"), terminal_size=SIZES[size], run_before=answered)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", [fraud, frozen])
def test_the_chain_in_trouble(snap_compare, state, size):
    chain, alarm = state()
    node = FakeNode(snapshot(alarm=alarm))
    node.chain_state = chain
    app = make_app(node, first_mode="chain")
    assert snap_compare(app, terminal_size=SIZES[size], run_before=look_at("message 7"))


@pytest.mark.parametrize("size", SIZES)
def test_a_way_out(snap_compare, size):
    async def run(pilot):
        await until_seen(pilot, "on L2, free to use")
        await pilot.press("e")
        await until_seen(pilot, "Leave the rollup?")
        await write(pilot, "leave", "#word")
        await pilot.press("enter")
        await until_seen(pilot, "come back later")
        await settle(pilot)

    chain, alarm = frozen()
    node = FakeNode(snapshot(alarm=alarm))
    node.chain_state = chain
    assert snap_compare(make_app(node, first_mode="wallet"), terminal_size=SIZES[size], run_before=run)


@pytest.mark.parametrize("size", SIZES)
def test_onboarding(snap_compare, size):
    app = make_app(FakeNode(first_run()), onboarding=True)
    assert snap_compare(app, terminal_size=SIZES[size], run_before=look_at("Rent out"))


def test_a_first_dashboard_says_what_to_do(snap_compare):
    app = make_app(FakeNode(first_run()))
    assert snap_compare(app, terminal_size=NARROW, run_before=look_at("No jobs yet"))


def test_a_money_dialog(snap_compare):
    async def run(pilot):
        await until_seen(pilot, "on L2, free to use")
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller")
        still(pilot.app)
        await write(pilot, "all")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "Withdraw to L1?")
        await settle(pilot)

    assert snap_compare(make_app(first_mode="wallet"), terminal_size=NARROW, run_before=run)


def test_the_light_theme(snap_compare):
    app = make_app(first_mode="market", theme="idlewatt-light")
    assert snap_compare(app, terminal_size=NARROW, run_before=look_at("Mistral-Small-24B"))


def test_the_terminals_own_colours(snap_compare):
    app = make_app(theme="ansi-dark")
    assert snap_compare(app, terminal_size=NARROW, run_before=look_at("Renting out"))
