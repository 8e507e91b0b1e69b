"""Onboarding: one question a step, and nothing happens before it was said."""

from msgspec import structs
from textual.events import Key
from textual.widgets import OptionList

from node.values import IdlewattError, Phase, Prices
from screens.onboarding import Step, next_after_wallet, step_number
from tests.screens.fake_node import WORDS, FakeNode, first_run
from tests.screens.support import NARROW, make_app, until, until_seen, write


async def at_step(pilot, step):
    await until(pilot, lambda: pilot.app.screen.step is step and not pilot.app.screen._busy)
    await pilot.pause()


async def choose(pilot, position):
    await until(pilot, lambda: isinstance(pilot.app.focused, OptionList))
    pilot.app.focused.highlighted = position
    await pilot.press("enter")


async def make_wallet(pilot):
    await at_step(pilot, Step.WALLET)
    await choose(pilot, 0)
    await at_step(pilot, Step.PROTECT)
    await write(pilot, "long enough", "#passphrase")
    await write(pilot, "long enough", "#again")
    await pilot.press("enter")
    await at_step(pilot, Step.WORDS)
    pilot.app.screen._pick = lambda _count: 2
    await until_seen(pilot, " 1 legal", "12 yellow")
    await pilot.press("enter")
    await at_step(pilot, Step.PROVE)


def test_who_only_buys_is_never_asked_to_rent_out():
    assert next_after_wallet("buy") is Step.READY
    assert next_after_wallet("both") is Step.RENT
    assert step_number(Step.READY, "buy") == "4 of 4"


async def test_renting_out_goes_from_nothing_to_an_offer_with_a_proven_backup():
    node = FakeNode(first_run())
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await until_seen(pilot, "What brings you here?", "1 of 5")
        await choose(pilot, 0)
        await make_wallet(pilot)
        await write(pilot, "cat", "#word")
        await pilot.press("enter")
        await until_seen(pilot, "That is another word.")
        await write(pilot, WORDS.split()[2], "#word")
        await pilot.press("enter")
        await at_step(pilot, Step.RENT)
        await until_seen(pilot, "AMD Ryzen 7", "idlewatt-demo-q8", "Start renting out")
        assert node.called("go_online") == []
        await write(pilot, "0.30", "#price-out")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "rent")
        await pilot.press("enter")
        await at_step(pilot, Step.READY)
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "to-dashboard")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "dashboard")
    assert node.called("create_wallet") == [("main", "long enough")]
    assert node.called("confirm_backup") == [("main",)]
    prices = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=300_000_000)
    assert node.called("go_online") == [("idlewatt-demo-q8", prices)]


async def test_buying_ends_in_the_chat():
    node = FakeNode(first_run())
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 1)
        await make_wallet(pilot)
        await write(pilot, WORDS.split()[2], "#word")
        await pilot.press("enter")
        await at_step(pilot, Step.READY)
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "to-chat")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "chat")
    assert node.called("go_online") == []


async def test_passphrases_that_differ_make_no_wallet_and_escape_goes_back():
    node = FakeNode(first_run())
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 2)
        await at_step(pilot, Step.WALLET)
        await choose(pilot, 0)
        await at_step(pilot, Step.PROTECT)
        await write(pilot, "long enough", "#passphrase")
        await write(pilot, "long enuff", "#again")
        await pilot.press("enter")
        await until_seen(pilot, "The two passphrases differ.")
        await pilot.press("escape")
        await at_step(pilot, Step.WALLET)
        await pilot.press("escape")
        await at_step(pilot, Step.ROLE)
    assert node.called("create_wallet") == []


async def test_a_wallet_that_cannot_be_made_says_why():
    node = FakeNode(first_run())
    node.errors["create_wallet"] = IdlewattError("The disk is full.", code="disk_full", fix="Free some space.")
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 1)
        await at_step(pilot, Step.WALLET)
        await choose(pilot, 0)
        await at_step(pilot, Step.PROTECT)
        await write(pilot, "long enough", "#passphrase")
        await write(pilot, "long enough", "#again")
        await pilot.press("enter")
        await until_seen(pilot, "✗ The disk is full. Free some space.")


async def test_an_import_skips_the_words():
    node = FakeNode(first_run())
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 1)
        await at_step(pilot, Step.WALLET)
        await choose(pilot, 1)
        await until_seen(pilot, "Import a wallet")
        await write(pilot, WORDS, "#secret")
        await write(pilot, "long enough", "#passphrase")
        await write(pilot, "long enough", "#again")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("import_wallet"))
        await at_step(pilot, Step.READY)
    assert node.called("import_wallet") == [("main", "mnemonic", WORDS, "long enough", "")]


async def test_keys_that_come_at_once_land_in_the_fields_they_were_typed_for():
    node = FakeNode(first_run())
    async with make_app(node, onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 1)
        await at_step(pilot, Step.WALLET)
        await choose(pilot, 0)
        await at_step(pilot, Step.PROTECT)
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "passphrase")
        for key in [*"longenough", "tab", *"longenough", "enter"]:
            pilot.app.post_message(Key(key, key if len(key) == 1 else None))
        await at_step(pilot, Step.WORDS)
    assert node.called("create_wallet") == [("main", "longenough")]


async def test_the_end_says_what_is_still_missing():
    missing = structs.replace(
        first_run(), phase=Phase.DEGRADED, why="No relay is set.", fix="Pass --relay ws://host:port once."
    )
    async with make_app(FakeNode(missing), onboarding=True).run_test(size=NARROW) as pilot:
        await at_step(pilot, Step.ROLE)
        await choose(pilot, 1)
        await make_wallet(pilot)
        await write(pilot, WORDS.split()[2], "#word")
        await pilot.press("enter")
        await at_step(pilot, Step.READY)
        await until_seen(pilot, "▲ No relay is set. Pass --relay ws://host:port once.")
