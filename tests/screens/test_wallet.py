"""Wallet: every action that moves money says how much and where to, and does nothing before it was confirmed."""

import msgspec
import pytest
from textual.widgets import Button, Select

from node.values import IdlewattError, MoneyLine, Trust, WalletState
from screens.wallet.tables import money_columns
from tests.screens.fake_node import BUYER, NOW_S, SELLER, WORDS, FakeNode, first_run, money, snapshot, wallet
from tests.screens.support import NARROW, make_app, until, until_seen, until_told, write


async def shown(pilot):
    await until_seen(pilot, "on L2, free to use")


def locked():
    return snapshot(wallets=(wallet(state=WalletState.LOCKED), wallet("buyer", BUYER)))


async def test_the_timeline_shows_every_place_and_counts_down():
    async with make_app(first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await until_seen(pilot, "on its way to L1", "in 3:20 min", "total $11.85", "earned, voucher held", SELLER)


async def test_a_withdrawal_names_amount_and_destination_before_it_happens():
    node = FakeNode()
    destination = "0x" + "12" * 20
    async with make_app(node, first_mode="wallet").run_test(size=NARROW, notifications=True) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, "0.25")
        await pilot.press("enter")
        await write(pilot, destination)
        await pilot.press("enter")
        await until_seen(pilot, "Withdraw to L1?", "$0.25", destination)
        assert node.called("withdraw") == []
        await pilot.press("enter")
        await until_told(pilot, "Withdrawal accepted")
    assert node.called("withdraw") == [("seller", 250_000_000, destination)]


async def test_all_withdraws_everything_to_the_wallets_own_address():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, "all")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "all of it ($1.25", SELLER)
        await pilot.press("enter")
        await until(pilot, lambda: node.called("withdraw") == [("seller", None, "")])


async def test_escape_at_the_last_question_moves_no_money():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, "all")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "Withdraw to L1?")
        await pilot.press("escape")
        await until_seen(pilot, "Where the money is")
        await pilot.pause()
    assert node.called("withdraw") == []


@pytest.mark.parametrize(
    ("amount", "to", "line"),
    [
        ("nonsense", "", "That is not an amount of dollars."),
        ("0", "", "The amount is zero."),
        ("2", "", "There is $1.25 to withdraw."),
        ("1", "0x1234", "That is not an address."),
    ],
)
async def test_what_is_wrong_with_a_withdrawal_stands_in_one_line(amount, to, line):
    async with make_app(first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, amount)
        await pilot.press("enter")
        await write(pilot, to)
        await pilot.press("enter")
        await until_seen(pilot, line)


async def test_a_refused_withdrawal_is_told_with_its_fix():
    node = FakeNode()
    node.errors["withdraw"] = IdlewattError("The chain refused.", code="chain_rejected", fix="Wait a minute.")
    async with make_app(node, first_mode="wallet").run_test(size=NARROW, notifications=True) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, "all")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "Withdraw to L1?")
        await pilot.press("enter")
        await until_told(pilot, "The chain refused. Wait a minute.")


async def test_a_wrong_passphrase_says_so_and_the_right_one_unlocks():
    node = FakeNode(locked())
    async with make_app(node, first_mode="wallet").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "▲ locked", "u unlocks it")
        await pilot.press("u")
        await until_seen(pilot, "Unlock seller")
        await write(pilot, "wrong")
        await pilot.press("enter")
        await until_told(pilot, "The passphrase is wrong. Type it again.")
        await pilot.press("u")
        await until_seen(pilot, "Unlock seller")
        await write(pilot, "correct horse")
        await pilot.press("enter")
        await until_seen(pilot, "● unlocked")


async def test_a_locked_wallet_asks_for_its_passphrase_before_it_withdraws():
    node = FakeNode(locked())
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("w")
        await until_seen(pilot, "Withdraw from seller to L1")
        await write(pilot, "all")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "Withdraw to L1?")
        await pilot.press("enter")
        await until_seen(pilot, "Unlock seller")
        await write(pilot, "correct horse")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("withdraw"))


async def test_a_deposit_is_confirmed_with_amount_and_both_ends():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("d")
        await until_seen(pilot, "Deposit from L1 to seller")
        await write(pilot, "all")
        await pilot.press("enter")
        await until_seen(pilot, "a deposit has no all")
        await write(pilot, "1.50")
        await pilot.press("enter")
        await until_seen(pilot, "Deposit into the rollup?", "$1.50", "on L1", "on L2")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("deposit") == [("seller", 1_500_000_000)])


async def test_the_faucet_says_what_arrived():
    async with make_app(first_mode="wallet").run_test(size=NARROW, notifications=True) as pilot:
        await shown(pilot)
        await pilot.press("f")
        await until_told(pilot, "$10.00 of test money arrived in seller.")


async def test_the_demos_second_wallet_is_one_key_away():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("s")
        await until_seen(pilot, "buyer · wallet 2 of 2", BUYER, "no proven backup")
        await until(pilot, lambda: ("buyer",) in node.called("money"))


async def test_the_private_key_is_shown_only_after_a_typed_word_and_the_passphrase():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("x")
        await until_seen(pilot, "Export seller")
        pilot.app.screen.query_one("#kind", Select).value = "private_key"
        await write(pilot, "correct horse", "#passphrase")
        await pilot.press("enter")
        await until_seen(pilot, "Show the private key?", "Type export to go on:")
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.screen.query_one("#yes", Button).disabled
        assert node.called("export_wallet") == []
        await write(pilot, "export")
        await pilot.press("enter")
        await until_seen(pilot, "0x" + "11" * 20)
        assert "correct horse" not in str(pilot.app.screen)
    assert node.called("export_wallet") == [("seller", "private_key", "correct horse")]


async def test_the_encrypted_file_is_shown_to_be_kept():
    async with make_app(first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("x")
        await until_seen(pilot, "Export seller")
        await write(pilot, "correct horse", "#passphrase")
        await pilot.press("enter")
        await until_seen(pilot, '{"version": 3}', "y copy")
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.clipboard == '{"version": 3}')


async def test_a_new_wallet_shows_its_words_and_asks_for_one_of_them():
    node = FakeNode(first_run())
    async with make_app(node, first_mode="wallet").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "no wallet yet")
        pilot.app.screen._pick = lambda _count: 3
        await pilot.press("n")
        await until_seen(pilot, "New wallet")
        await write(pilot, "long enough")
        await pilot.press("enter")
        await write(pilot, "long enough")
        await pilot.press("enter")
        await until_seen(pilot, "Recovery words", " 4 year")
        await pilot.press("escape")
        await until_seen(pilot, "Word number 4")
        await write(pilot, "cat")
        await pilot.press("enter")
        await until_seen(pilot, "That is another word.")
        await write(pilot, WORDS.split()[3])
        await pilot.press("enter")
        await until_told(pilot, "The backup is proven.")
    assert node.called("confirm_backup") == [("main",)]


async def test_an_import_takes_words_keys_and_files():
    node = FakeNode(first_run())
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "no wallet yet")
        await pilot.press("i")
        await until_seen(pilot, "Import a wallet")
        pilot.app.screen.query_one("#kind", Select).value = "v3"
        await until(pilot, lambda: pilot.app.screen.query_one("#field-file_passphrase").display)
        for field, text in (
            ("secret", "{}"),
            ("file_passphrase", "old"),
            ("passphrase", "long enough"),
            ("again", "long enough"),
        ):
            await write(pilot, text, f"#{field}")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("import_wallet") == [("main", "v3", "{}", "long enough", "old")])


async def test_a_channel_is_redeemed_and_closed_with_its_amounts_confirmed():
    node = FakeNode()
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("v")
        await until_seen(pilot, "Redeem the best voucher?", "$0.0000312")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("redeem") == [(7,)])
        await until_seen(pilot, "Where the money is")
        await pilot.press("c")
        await until_seen(pilot, "Close the channel together?", "$0.0999688")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("close_channel") == [(7, False)])


async def test_a_buyer_whose_peer_is_gone_may_close_alone():
    node = FakeNode()
    node.errors["close_channel"] = IdlewattError("The peer does not answer.", code="peer_gone")
    async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("j", "c")
        await until_seen(pilot, "Close the channel together?", "#5")
        await pilot.press("enter")
        await until_seen(pilot, "Close alone?", "The peer does not answer.")
        node.errors.clear()
        await pilot.press("enter")
        await until(pilot, lambda: node.called("close_channel") == [(5, False), (5, True)])


async def test_in_a_browser_nothing_touches_keys_or_money(monkeypatch):
    node = FakeNode()
    app = make_app(node, first_mode="wallet")
    monkeypatch.setattr(type(app), "is_web", property(lambda _self: True))
    async with app.run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("w", "d", "f", "x", "v", "c")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1
    assert node.called("faucet") == []


async def test_the_address_is_shown_as_a_code_to_scan():
    async with make_app(first_mode="wallet").run_test(size=NARROW) as pilot:
        await shown(pilot)
        await pilot.press("q")
        await until_seen(pilot, "██ ▄▄▄▄▄ █", "esc close")


async def test_an_ended_countdown_reads_the_money_again():
    node = FakeNode()
    now_ms = [(NOW_S + 200) * 1000]
    app = make_app(node, first_mode="wallet")
    app.feed.now_ms = lambda: now_ms[0]
    async with app.run_test(size=NARROW) as pilot:
        await shown(pilot)
        before = len(node.called("money"))
        node.money_view = money()
        pilot.app.screen.tick()
        await until(pilot, lambda: len(node.called("money")) > before)


def test_money_says_how_far_it_is_proven_and_what_was_sold():
    where, _, state = money_columns(lambda: 0)[:3]
    line = MoneyLine(place="wallet", label="Here", amount_nano=3, trust=Trust.SOFT, proven_nano=10**9, batch_id=4)
    assert (str(state.cell(line)), where.cell(line)) == ("soft", "■ Here, $1.00 of it proven at batch 4")
    proven = msgspec.structs.replace(line, trust=Trust.PROVEN)
    assert (str(state.cell(proven)), where.cell(proven)) == ("proven", "■ Here, proven at batch 4")
    sold = MoneyLine(place="withdrawing", label="Withdrawal 1", amount_nano=0, claim="sold")
    assert str(state.cell(sold)) == "✓ sold"
