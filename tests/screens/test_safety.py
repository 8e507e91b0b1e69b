"""Fraud, freeze and the ways out, as a person meets them on every screen."""

import msgspec
import pytest

from node.values import DisputeStage, IdlewattError
from screens.chain_safety import dispute_line, message_line, safety_content
from tests.screens.fake_node import (
    NOW_MS,
    FakeNode,
    chain_view,
    dispute,
    fraud,
    frozen,
    safety_view,
    snapshot,
    waiting_message,
)
from tests.screens.support import BOTH, NARROW, make_app, seen, until, until_seen, write

MODES = ("dashboard", "jobs", "market", "chat", "wallet", "chain", "logs")


def alarmed(state):
    chain, alarm = state
    node = FakeNode(snapshot(alarm=alarm))
    node.chain_state = chain
    return node


@pytest.mark.parametrize("mode", MODES)
async def test_every_screen_says_that_a_fraud_is_on(mode):
    app = make_app(alarmed(fraud()), first_mode=mode)
    async with app.run_test(size=NARROW) as pilot:
        await until_seen(pilot, "FRAUD: batch 5 was proven wrong")
        bar = app.screen.query_one("#alarm")
        assert bar.has_class("-danger")
        red, green, blue = bar.styles.background.rgb
        assert red > 2 * max(green, blue)
        assert bar.region.y == 1


async def test_the_line_comes_and_goes_with_what_it_says():
    node = FakeNode()
    app = make_app(node)
    async with app.run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Renting out")
        assert not app.screen.query_one("#alarm").display
        node.change("chain", alarm=frozen()[1])
        await until_seen(pilot, "THE ROLLUP IS FROZEN")
        node.change("chain", alarm=None)
        await until(pilot, lambda: "FROZEN" not in seen(app))


@pytest.mark.parametrize("size", BOTH)
async def test_the_chain_screen_shows_dispute_message_and_bond(size):
    app = make_app(alarmed(fraud()), first_mode="chain")
    async with app.run_test(size=size) as pilot:
        await until_seen(pilot, "reverted", "wrong root (code 8)", "message 7 (forced) waits", "in 15 s", "1 ether")
        await until_seen(pilot, "and 2 more messages wait", "1 fraud proof announced")


async def test_without_trouble_the_chain_screen_says_so():
    node = FakeNode()
    node.chain_state = chain_view(safety=safety_view())
    async with make_app(node, first_mode="chain").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "no fraud seen, nothing waits", "4 of 6 batches final")


async def test_an_l1_that_cannot_be_read_is_said():
    node = FakeNode()
    node.chain_state = chain_view(l1_error="The L1 can't be reached.")
    async with make_app(node, first_mode="chain").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "L1 can't be read: The L1 can't be reached.")


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (5, "in a batch in 15 s at the latest"),
        (25, "anyone bonded may sequence in 15 s"),
        (60, "anyone may freeze in 1:00 min"),
        (200, "anyone may freeze the rollup now"),
    ],
)
def test_a_message_says_what_its_waiting_leads_to(age_s, told):
    assert told in message_line(waiting_message(age_s=age_s), NOW_MS).plain


@pytest.mark.parametrize("stage", DisputeStage)
def test_every_stage_of_a_dispute_has_a_mark_and_a_word(stage):
    assert stage.value in dispute_line(dispute(stage)).plain


def test_what_a_frozen_rollup_never_executed_is_said_so():
    chain, _ = frozen()
    told = safety_content(chain, NOW_MS, wide=True).plain
    assert "message 7 (forced) was never executed" in told
    assert "bonds" not in told


def test_a_committed_proof_says_when_it_is_shown():
    assert "shown from L1 block 4330" in dispute_line(dispute(DisputeStage.COMMITTED)).plain


def test_an_unreachable_l1_is_told_beside_what_was_last_read():
    chain = chain_view(safety=safety_view(), l1_error="gone")
    assert "L1 doesn't answer now: gone" in safety_content(chain, NOW_MS, wide=True).plain


class TestWaysOut:
    async def test_leaving_is_offered_once_the_rollup_ended(self):
        node = alarmed(frozen())
        app = make_app(node, first_mode="wallet")
        async with app.run_test(size=NARROW) as pilot:
            await until_seen(pilot, "on L2, free to use")
            await pilot.press("e")
            await until_seen(pilot, "Leave the rollup?")
            await write(pilot, "leave", "#word")
            await pilot.press("enter")
            await until_seen(
                pilot, "✓ 6 batches re-executed.", "◷ Channel #7 is on its way.", "in 42 s", "come back later"
            )
            await pilot.press("escape")
            await until(pilot, lambda: "re-executed" not in seen(app))
        assert node.called("leave") == [("seller", True)]

    async def test_neither_way_is_offered_while_all_is_well(self):
        node = FakeNode()
        async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
            await until_seen(pilot, "on L2, free to use")
            await pilot.press("e", "p")
            await pilot.pause()
            assert "Leave" not in seen(pilot.app)
            assert "Force" not in seen(pilot.app)

    async def test_a_withdrawal_is_forced_where_the_sequencer_is_silent(self):
        node = FakeNode(snapshot(chain_reachable=False))
        app = make_app(node, first_mode="wallet")
        async with app.run_test(size=NARROW) as pilot:
            await until_seen(pilot, "on L2, free to use")
            await pilot.press("p")
            await until_seen(pilot, "Withdraw from seller")
            await write(pilot, "0.5")
            await pilot.press("enter", "enter")
            await until_seen(pilot, "Force a withdrawal?", "$0.50")
            await pilot.press("enter")
            await until_seen(pilot, "6 batches re-executed.")
        assert node.called("force_withdraw") == [("seller", 500_000_000, "")]

    async def test_a_refusal_on_the_way_is_one_line_with_its_fix(self):
        node = alarmed(frozen())
        node.steps = [IdlewattError("The L1 account has no ether.", code="no_gas", fix="Send it some.")]
        app = make_app(node, first_mode="wallet")
        async with app.run_test(size=NARROW) as pilot:
            await until_seen(pilot, "on L2, free to use")
            await pilot.press("e")
            await until_seen(pilot, "Leave the rollup?")
            await write(pilot, "leave", "#word")
            await pilot.press("enter")
            await until_seen(pilot, "The L1 account has no ether. Send it some.")

    async def test_a_stake_is_shown_with_the_wallet(self):
        state = snapshot()
        staked = msgspec.structs.replace(state.wallets[0], stake_nano=2_000_000_000, unlocking_nano=500_000_000)
        node = FakeNode(msgspec.structs.replace(state, wallets=(staked, *state.wallets[1:])))
        async with make_app(node, first_mode="wallet").run_test(size=NARROW) as pilot:
            await until_seen(pilot, "stake $2.00, $0.50 on its way out")
