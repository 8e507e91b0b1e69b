"""Strings from strangers in every field of every value on every screen: nothing crashes, nothing is obeyed."""

import msgspec
import pytest

from app.modes import SCREENS
from node.values import ChatDelta, IdlewattError, LogLine, Notice
from screens.chat.screen import ChatScreen
from screens.dialogs import Picker, Reveal
from tests.screens.fake_node import NOW_MS, FakeNode, chat_script, snapshot
from tests.screens.support import BOTH, make_app, seen, until, write

HOSTILE = {
    "markup": "[/x] [/] [ [bold red blink]loud[/] [link=file:///etc/passwd]x[/link] [@click=app.quit]quit[/]",
    "controls": "\x1b[31mr\x1b]0;t\x07\x9b31m\x00\x7f \u202etxt.exe\u2066\u200f\u061c one\r\ntwo\n\n x\u2028y\x0bz",
    "endless": "A" * 10_000,
    "zalgo and wide": ("z" + "\u0301\u0316\u0334" * 300 + "漢字🏳️‍🌈👩‍👩‍👧‍👦") * 20,
    "markdown": "> " * 300
    + "deep\n\n"
    + "- " * 200
    + "\n\n```[/x]\n"
    + "|a|b|\n|-|-|\n" * 20
    + "[x](javascript:alert(1)) ![i](http://x/y.png) <script>",
    "empty": "",
}


def poisoned(value, text):
    """The same value with this text in every string that is free text."""
    if isinstance(value, msgspec.Struct):
        changes = {
            field.name: text if field.type is str else poisoned(getattr(value, field.name), text)
            for field in msgspec.structs.fields(type(value))
        }
        return msgspec.structs.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(poisoned(item, text) for item in value)
    return value


def poison(node, text):
    """Everything that the node tells from now on."""
    node.offers = poisoned(node.offers, text)
    node.chain_state = poisoned(node.chain_state, text)
    node.sessions = list(poisoned(tuple(node.sessions), text))
    node.channel_views = poisoned(node.channel_views, text)
    node.money_view = poisoned(node.money_view, text)
    node.model_views = poisoned(node.model_views, text)
    node.lines = poisoned(node.lines, text)
    node.script = lambda: [poisoned(event, text) for event in chat_script()]
    kept_ids = tuple(wallet.wallet_id for wallet in node.state.wallets)
    state = poisoned(snapshot(), text)
    wallets = tuple(
        msgspec.structs.replace(wallet, wallet_id=name) for wallet, name in zip(state.wallets, kept_ids, strict=True)
    )
    node.state = msgspec.structs.replace(state, wallets=wallets)
    for what in ("phase", "jobs", "relay", "chain", "wallet", "market", "devices", "models"):
        node.change(what)
    node.events.put_nowait(Notice(severity="error", text=text))
    node.events.put_nowait(LogLine(at_ms=NOW_MS, level="error", source=text, text=text))


def assert_harmless(app):
    shown = seen(app)
    assert not any(character in shown for character in "\x1b\x9b\x07\u202e\u2066\u200f\u2028"), (
        "a control character reached the screen"
    )


async def visit_everything(pilot):
    app = pilot.app
    for mode in SCREENS:
        await app.switch_mode(mode)
        await until(pilot, lambda mode=mode: app.current_mode == mode and not app.screen._loading)
        await pilot.pause()
        assert_harmless(app)
        if mode in {"jobs", "chain"}:
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, Reveal))
            assert_harmless(app)
            await pilot.press("escape")
        if mode == "chat":
            await app.screen.action_new()
            await write(pilot, "hello", "#prompt")
            await pilot.press("enter")
            await until(pilot, lambda: not app.screen.running and app.screen.receipt is not None)
            await app.screen.action_new()
            app.screen.action_model()
            await until(pilot, lambda: isinstance(app.screen, Picker))
            assert_harmless(app)
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: len(app.screen_stack) == 1)


@pytest.mark.parametrize("size", BOTH)
async def test_hostile_strings_are_only_ever_text(size):
    node = FakeNode()
    async with make_app(node, reload_pause_s=0).run_test(size=size, notifications=True) as pilot:
        for name, text in HOSTILE.items():
            poison(node, text)
            await until(pilot, lambda: not pilot.app._changed and node.events.empty())
            try:
                await visit_everything(pilot)
            except Exception as error:
                raise AssertionError(f"{name} at {size}: {error!r}") from error
            pilot.app.clear_notifications()
        assert pilot.app.is_running


async def test_hostile_errors_are_one_line_of_text():
    node = FakeNode()
    hostile = IdlewattError("[/x]\x1b[31m\nsecond line", peer_code="[/]", fix="[@click=app.quit]fix[/]")
    node.errors = dict.fromkeys(("market", "money", "chain", "chat", "faucet"), hostile)
    async with make_app(node, first_mode="wallet").run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("f")
        for mode in ("market", "chain", "chat"):
            await pilot.app.switch_mode(mode)
        await write(pilot, "hello", "#prompt")
        await pilot.press("enter")
        await until(pilot, lambda: not pilot.app.screen.running and "[@click=app.quit]fix[/]" in seen(pilot.app))
        notices = [notice.message for notice in pilot.app._notifications]
        assert notices
        assert all("\n" not in message and "\x1b" not in message for message in notices)


async def test_a_flood_of_tiny_deltas_is_drawn_a_few_times_a_second():
    node = FakeNode()
    head, *_, tail = chat_script()
    node.script = lambda: [head, *(ChatDelta(text="ab ", output_tokens=n, spent_nano=n) for n in range(3000)), tail]
    async with make_app(node, first_mode="chat").run_test(size=(80, 24)) as pilot:
        await write(pilot, "flood", "#prompt")
        await pilot.press("enter")
        await until(pilot, lambda: not pilot.app.screen.running and pilot.app.screen.messages)
        assert pilot.app.screen.messages[-1].content == "ab " * 3000
