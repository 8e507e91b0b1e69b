"""The app around the screens: modes, keys, help, palette, going online, and outliving every failure."""

import pytest

from app.modes import ALL_MODES
from app.tui import IdlewattApp
from node.values import IdlewattError, Notice, Phase
from screens.dialogs import Help
from tests.screens.fake_node import PRICES, FakeNode, snapshot
from tests.screens.support import NARROW, WIDE, make_app, seen, until, until_seen, until_told, write


def test_every_binding_has_an_id_so_that_keymaps_can_move_it():
    bindings = [
        binding for kind in (IdlewattApp, *(mode.screen() for mode in ALL_MODES.values())) for binding in kind.BINDINGS
    ]
    assert [binding for binding in bindings if not binding.id and not binding.system] == []


def test_a_screen_is_called_the_same_by_its_mode_and_by_itself():
    assert {name: mode.title for name, mode in ALL_MODES.items()} == {
        name: mode.screen().TITLE_TEXT for name, mode in ALL_MODES.items()
    }


def test_no_two_bindings_share_an_id_and_a_screen():
    for screen in (mode.screen() for mode in ALL_MODES.values()):
        ids = [binding.id for binding in (*screen.BINDINGS, *IdlewattApp.BINDINGS) if binding.id]
        assert len(ids) == len(set(ids))


async def test_digits_change_the_screen_and_network_and_settings_stay_unbound():
    async with make_app().run_test(size=NARROW) as pilot:
        for key, mode in (
            ("2", "jobs"),
            ("3", "models"),
            ("4", "market"),
            ("6", "wallet"),
            ("7", "chain"),
            ("9", "logs"),
            ("1", "dashboard"),
        ):
            await pilot.press(key)
            await until(pilot, lambda mode=mode: pilot.app.current_mode == mode)
        await pilot.press("8", "f2")
        await pilot.pause()
        assert pilot.app.current_mode == "dashboard"


async def test_ctrl_c_twice_quits_and_once_says_so():
    async with make_app().run_test(size=NARROW, notifications=True) as pilot:
        await pilot.press("ctrl+c")
        await until_told(pilot, "Press ctrl+c again to quit.")
        assert pilot.app.is_running
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not pilot.app.is_running)


async def test_a_keymap_moves_a_key():
    app = make_app(keymap={"go.wallet": "ctrl+w"})
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("ctrl+w")
        await until(pilot, lambda: pilot.app.current_mode == "wallet")


async def test_help_explains_the_screen_and_its_keys():
    async with make_app(first_mode="market").run_test(size=WIDE) as pilot:
        await until_seen(pilot, "Offers")
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        await until_seen(pilot, "Help · Market", "Chat with it", "Filter", "F3", "esc 1…9")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Help))


async def test_the_palette_offers_what_the_keys_do():
    async with make_app(first_mode="wallet").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Where the money is")
        titles = {command.title for command in pilot.app.get_system_commands(pilot.app.screen)}
    assert {"Go to Market", "Withdraw", "Faucet", "Rent out, or stop", "Theme", "Quit"} <= titles


async def test_going_online_asks_for_model_and_price_first():
    node = FakeNode(snapshot(phase=Phase.OFF, provider=None))
    async with make_app(node).run_test(size=NARROW) as pilot:
        await until_seen(pilot, "○ OFF")
        await pilot.press("f3")
        await until_seen(pilot, "Rent out this machine?", "idlewatt-demo-q8")
        assert node.called("go_online") == []
        await write(pilot, "much", "#input")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "not an amount of dollars")
        await write(pilot, "0.10", "#input")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: node.called("go_online") == [("idlewatt-demo-q8", PRICES)])
        await until_seen(pilot, "● IDLE")


async def test_going_offline_needs_one_key():
    node = FakeNode()
    async with make_app(node).run_test(size=NARROW) as pilot:
        await pilot.press("f3")
        await until(pilot, lambda: node.called("go_offline"))
        await until_seen(pilot, "○ OFF")


async def test_a_failure_to_go_online_is_one_line():
    node = FakeNode(snapshot(phase=Phase.OFF, provider=None))
    node.errors["go_online"] = IdlewattError(
        "The model does not fit.", code="model_too_big", fix="Choose a smaller one."
    )
    async with make_app(node).run_test(size=NARROW, notifications=True) as pilot:
        await pilot.press("f3")
        await until_seen(pilot, "Rent out this machine?")
        pilot.app.screen.query_one("#yes").press()
        await until_told(pilot, "The model does not fit. Choose a smaller one.")


async def test_a_change_in_the_node_reaches_every_line_that_shows_it():
    node = FakeNode()
    async with make_app(node).run_test(size=NARROW) as pilot:
        await until_seen(pilot, "▶ SERVING")
        node.change("phase", phase=Phase.DEGRADED, why="the relay is gone", fix="Check the network.")
        await until_seen(pilot, "▲ degraded", "▲ DEGRADED", "the relay is gone", "→ Check the network.")


async def test_a_burst_of_events_is_drawn_once():
    node = FakeNode()
    async with make_app(node).run_test(size=NARROW) as pilot:
        drawn = []
        pilot.app.feed.changed.subscribe(pilot.app, drawn.append)
        for number in range(200):
            node.change("jobs", why=f"burst {number}")
        await until_seen(pilot, "burst 199")
        assert len(drawn) <= 3


async def test_notices_of_the_node_are_told_as_they_are():
    node = FakeNode()
    async with make_app(node).run_test(size=NARROW, notifications=True) as pilot:
        node.events.put_nowait(Notice(severity="warning", text="[bold]careful[/x]"))
        await until_told(pilot, "[bold]careful[/x]")
        await until_seen(pilot, "[bold]careful[/x]")


@pytest.mark.parametrize("error", [IdlewattError("The node is gone.", fix="Start it."), RuntimeError("bug")])
@pytest.mark.parametrize(("mode", "call"), [("market", "market"), ("wallet", "money"), ("chain", "chain")])
async def test_a_screen_that_cannot_load_says_so_and_lives_on(mode, call, error):
    node = FakeNode()
    node.errors[call] = error
    async with make_app(node, first_mode=mode).run_test(size=NARROW, notifications=True) as pilot:
        await until_told(
            pilot,
            "The node is gone. Start it."
            if isinstance(error, IdlewattError)
            else "Something failed inside (RuntimeError)",
        )
        node.errors.clear()
        await pilot.press("r") if mode != "wallet" else node.change("wallet")
        wanted = {"market": "Qwen3-8B-Instruct", "wallet": "total $11.85", "chain": "#5"}[mode]
        await until_seen(pilot, wanted)


async def test_broken_events_are_listened_to_again():
    node = FakeNode()
    node.events.put_nowait(object())
    async with make_app(node).run_test(size=NARROW, notifications=True) as pilot:
        await until_told(pilot, "listening again")
        node.change("phase", why="after the break")
        await until_seen(pilot, "after the break")


async def test_the_demo_is_labelled_at_every_width():
    for width in (60, 80, 120, 160):
        async with make_app().run_test(size=(width, 24)) as pilot:
            await until_seen(pilot, "DEMO · ")
            assert "test money" in seen(pilot.app).splitlines()[0]


async def test_ctrl_q_quits_from_a_text_field():
    app = make_app(first_mode="chat")
    async with app.run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Ask something")
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert app.return_code == 0
