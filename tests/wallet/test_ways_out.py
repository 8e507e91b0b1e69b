"""Past a sequencer that ignores you, and out of a rollup that has none: real contracts, nothing asked of anybody."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.l1.bridge import Bridge
from chain.l1.protocol import InboxMessage, SignedVoucher
from chain.replay import ReplayError
from chain.sequencer import SequencerConfig
from chain.signing import flip_parity
from tests.wallet.moves import transfer, until
from tests.wallet.network import fresh_account
from tests.wallet.world import FREEZE_S, WINDOW_S, World
from wallet.exits import leave
from wallet.forced_withdrawal import force_withdraw
from wallet.forcing import sent_message
from wallet.rollup_follower import RollupFollower
from wallet.service import WalletService
from wallet.steps import StepState, WithdrawalStep
from wallet.vouchers import sign_voucher
from wallet.wallet_error import WalletError

USD = 10**9
POLL_S = 0.02


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A rollup with its sequencer, and three people with ether and nothing else."""
    async with World(tmp_path) as running:
        yield running


@pytest.fixture
async def rich(world: World) -> World:
    """The same, the first of them with five dollars in a batch on L1."""
    await world.funded(0, 5 * USD)
    return world


@pytest.fixture
async def unled(rich: World) -> World:
    """And the sequencer gone for good."""
    await rich.stop_sequencer()
    return rich


@pytest.fixture
async def ignored(world: World) -> World:
    """A rollup whose sequencer is gone, with a message that nobody executed for as long as the freeze takes."""
    await abandoned(world, FREEZE_S + 2)
    return world


async def abandoned(world: World, seconds: int) -> None:
    """The sequencer goes, a message comes, and time passes."""
    await world.stop_sequencer()
    await world.operator.force_tx(b"ignored")
    await world.later(seconds)


async def frozen(world: World) -> None:
    """A rollup that nobody sequences ends."""
    await world.later(FREEZE_S + 2)
    await world.operator.freeze()


async def read(steps: AsyncIterator[WithdrawalStep]) -> dict[str, WithdrawalStep]:
    """Every step as it was at its last."""
    return {step.key: step async for step in steps}


def paid_nano(steps: dict[str, WithdrawalStep]) -> int:
    return sum(step.amount_nano or 0 for step in steps.values() if step.state is StepState.DONE)


async def is_past(wallet: WalletService, moment_s: int) -> bool:
    return (await wallet.info()).l2_time_s > moment_s


class TestForcedWithdrawals:
    async def test_one_is_followed_from_the_signature_to_the_money(self, rich: World) -> None:
        alice = rich.people[0]
        l1 = await rich.rollup_for(alice)
        seen: list[tuple[str, StepState]] = []

        async for step in force_withdraw(l1, alice, 2 * USD, poll_s=POLL_S):
            seen.append((step.key, step.state))
            if step.key == "final" and step.state is StepState.WAITING:
                assert step.ready_at_s is not None
                assert step.ready_at_s > await l1.time_s()
                await rich.later(WINDOW_S + 1)

        done = [key for key, state in seen if state is StepState.DONE]
        assert done == ["read", "sign", "send", "deadline", "executed", "final", "claim"]
        assert await rich.l1_nano(alice.address) == 2 * USD
        assert await rich.wallet(0).balance() == 3 * USD

    async def test_one_that_a_reorg_mined_again_later_is_recognized(
        self, rich: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its index, block and time are others than when it was sent; its bytes are the same."""

        async def before_the_reorg(*sent: Any) -> InboxMessage:
            message = await sent_message(*sent)
            return replace(message, index=message.index + 1, l1_block=message.l1_block - 1, at_s=message.at_s - 1)

        monkeypatch.setattr("wallet.forced_withdrawal.sent_message", before_the_reorg)
        alice = rich.people[0]
        l1 = await rich.rollup_for(alice)
        async for step in force_withdraw(l1, alice, USD, poll_s=POLL_S):
            if step.key == "final" and step.state is StepState.WAITING:
                await rich.later(WINDOW_S + 1)
        assert await rich.l1_nano(alice.address) == USD

    async def test_another_address_can_be_paid_and_all_is_all(self, rich: World) -> None:
        alice, friend = rich.people[0], b"\x77" * 20
        l1 = await rich.rollup_for(alice)

        async for step in force_withdraw(l1, alice, None, friend, poll_s=POLL_S):
            if step.key == "final" and step.state is StepState.WAITING:
                await rich.later(WINDOW_S + 1)

        assert await rich.l1_nano(friend) == 5 * USD

    async def test_asked_again_it_goes_on_with_the_message_that_waits(self, unled: World) -> None:
        alice = unled.people[0]
        l1 = await unled.rollup_for(alice)

        first = await read(force_withdraw(l1, alice, USD, wait=False))
        again = await read(force_withdraw(l1, alice, USD, wait=False))

        assert len(await l1.inbox_messages(1, 10)) == 1
        assert first["send"].l1_tx
        assert "already message 1" in again["send"].text
        assert first["deadline"].state is StepState.WAITING

    async def test_it_says_when_nobody_executes_it(self, unled: World) -> None:
        alice = unled.people[0]
        l1 = await unled.rollup_for(alice)

        async def patiently() -> None:
            async for step in force_withdraw(l1, alice, USD, poll_s=POLL_S):
                if step.key == "deadline":
                    await unled.later(FREEZE_S + 2)

        with pytest.raises(WalletError) as refused:
            await patiently()

        assert refused.value.code == "not_executed"
        assert "wallet exit --freeze" in refused.value.fix

    async def test_it_says_when_the_nonce_was_used_before(self, tmp_path: Path) -> None:
        async with World(
            tmp_path, config=SequencerConfig(batch_interval_s=1.0, poll_s=0.05, inbox_confirmations=0)
        ) as world:
            wallet = await world.funded(0, 5 * USD)
            await world.client.flush()
            alice = world.people[0]
            l1 = await world.rollup_for(alice)
            before = RollupFollower(l1)
            await before.catch_up()
            await transfer(wallet, world.client, world.people[1].address, USD)  # soft: L1 doesn't have it yet

            with pytest.raises(WalletError) as refused:
                await read(force_withdraw(l1, alice, USD, poll_s=POLL_S))

            assert refused.value.code == "no_effect"

    async def test_who_has_nothing_is_told(self, world: World) -> None:
        alice = world.people[0]
        l1 = await world.rollup_for(alice)

        with pytest.raises(WalletError) as refused:
            await read(force_withdraw(l1, alice, USD))
        assert refused.value.code == "no_funds"

        await world.funded(0, USD)
        with pytest.raises(WalletError) as refused:
            await read(force_withdraw(l1, alice, 2 * USD))
        assert refused.value.code == "no_funds"

    async def test_an_account_without_ether_is_told_where_to_send_some(self, world: World) -> None:
        wallet = await world.funded(0, 5 * USD)
        poor = fresh_account()
        await transfer(wallet, world.client, poor.address, USD)
        await world.client.flush()
        l1 = await world.rollup_for(poor)

        with pytest.raises(ChainRejectedError) as refused:
            await read(force_withdraw(l1, poor, USD))

        assert refused.value.code == "no_gas"
        assert poor.address_hex in refused.value.fix


class TestLeaving:
    async def test_nobody_leaves_a_rollup_that_runs(self, world: World) -> None:
        await world.funded(0, USD)
        l1 = await world.rollup_for(world.people[0])

        with pytest.raises(WalletError) as refused:
            await read(leave(l1, world.people[0].address, {}, freeze=True))

        assert refused.value.code == "not_frozen"
        assert "force-withdraw" in refused.value.fix

    async def test_a_freeze_is_asked_for(self, ignored: World) -> None:
        l1 = await ignored.rollup_for(ignored.people[0])

        with pytest.raises(WalletError) as refused:
            await read(leave(l1, ignored.people[0].address, {}))

        assert refused.value.code == "not_frozen"
        assert "--freeze" in refused.value.fix

    async def test_everybody_leaves_with_every_unit_when_sequencer_and_operator_are_dead(self, world: World) -> None:
        """Balances, a stake, a channel from both sides, a withdrawal under way, a deposit that nobody executed."""
        alice, bob, carol = world.people
        await world.mint(0, 7 * USD)
        buyer = await world.funded(0, 20 * USD)
        seller = await world.funded(1, 4 * USD)
        key = alice.voucher_key_at((await buyer.info()).deployment, 0)
        channel, _ = await buyer.open_channel(bob.address, 5 * USD, key.address, int(time.time()) + 10_000)
        first = sign_voucher(key, await buyer.domain(), channel, USD)
        await seller.redeem(first)
        best = sign_voucher(key, await buyer.domain(), channel, 3 * USD)
        await seller.stake(2 * USD)
        await seller.unstake(USD // 2)
        await buyer.withdraw(USD, carol.address)
        await world.client.flush()
        await world.stop_sequencer()
        await buyer_deposits_past_the_dead(world, 7 * USD)
        state = await RollupFollower(await world.rollup_for(carol)).catch_up()
        fees_nano = state.meta.fee_pool_nano
        await world.later(FREEZE_S + WINDOW_S + 2)

        async def leaves(number: int, **options: bool) -> dict[str, WithdrawalStep]:
            account = world.people[number]
            vouchers = {1: SignedVoucher(cumulative_nano=best.cumulative_nano, signature=flip_parity(best.signature))}
            l1 = await world.rollup_for(account)
            return await read(leave(l1, account.address, vouchers if number == 1 else {}, poll_s=POLL_S, **options))

        began = await leaves(0, freeze=True, wait=False)
        assert began["freeze"].l1_tx
        assert began["channel 1"].state is StepState.WAITING
        raised = await leaves(1, wait=False)
        assert "raised to the voucher of $3.00" in raised["channel 1"].text
        await leaves(2)
        await world.later(WINDOW_S + 1)
        for number in (0, 1):
            assert (await leaves(number))["channel 1"].state is StepState.DONE

        fee = fees_nano // 4  # open, stake, unstake, withdraw
        assert await world.l1_nano(carol.address) == USD
        assert await world.l1_nano(alice.address) == (20 + 7 - 1 - 3) * USD - 2 * fee
        assert await world.l1_nano(bob.address) == (4 + 3) * USD - 2 * fee
        assert await world.l1_nano(world.deployment.rollup_address) == fees_nano
        again = await leaves(0)
        assert paid_nano(again) == 0

    async def test_a_channel_that_was_over_is_settled_without_its_voucher(self, world: World) -> None:
        alice, bob, _ = world.people
        buyer = await world.funded(0, 9 * USD)
        key = alice.voucher_key_at((await buyer.info()).deployment, 0)
        expiry_s = (await buyer.info()).l2_time_s + 2
        channel, _ = await buyer.open_channel(bob.address, 5 * USD, key.address, expiry_s)
        late = sign_voucher(key, await buyer.domain(), channel, 3 * USD)
        await world.client.flush()
        await until(lambda: is_past(buyer, expiry_s), "The sequencer's clock stands still.")
        await transfer(buyer, world.client, bob.address, 1)
        await world.client.flush()
        await abandoned(world, FREEZE_S + WINDOW_S + 2)
        l1 = await world.rollup_for(bob)
        vouchers = {channel: SignedVoucher(cumulative_nano=late.cumulative_nano, signature=late.signature)}

        began = await read(leave(l1, bob.address, vouchers, freeze=True, wait=False))

        assert "without a voucher" in began[f"channel {channel}"].text

    async def test_it_waits_until_the_last_batch_is_final(self, world: World) -> None:
        await world.funded(0, USD)
        alice = world.people[0]
        await abandoned(world, 0)
        l1 = await world.rollup_for(alice)
        await frozen(world)
        # The newest batch is as old as the freeze's delay, which is longer than a window: all is final at once.
        steps = await read(leave(l1, alice.address, {}, wait=False))
        assert steps["final"].state is StepState.DONE
        assert await world.l1_nano(alice.address) == USD

    async def test_a_wrong_batch_must_be_disproven_first(self, world: World) -> None:
        await world.funded(0, USD)
        alice = world.people[0]
        await abandoned(world, 0)
        proof = await world.lie()
        await frozen(world)
        l1 = await world.rollup_for(alice)

        with pytest.raises(ReplayError) as refused:
            await read(leave(l1, alice.address, {}, wait=False))
        assert refused.value.batch_id == proof.batch_id

        seen: list[str] = []
        async for step in leave(l1, alice.address, {}, poll_s=POLL_S):
            if step.key == "final" and step.state is StepState.WAITING and not seen:
                seen.append(step.text)
                await world.prove(proof)
        assert "idlewatt watch --prove" in seen[0]
        assert await world.l1_nano(alice.address) == USD

    async def test_a_forced_withdrawal_outlives_a_fraud(self, unled: World) -> None:
        """The batch that executed it is cut off with a lie before it, and a later one executes it again."""
        alice = unled.people[0]
        l1 = await unled.rollup_for(alice)
        proof = await unled.lie()
        seen: list[str] = []

        async for step in force_withdraw(l1, alice, USD, poll_s=POLL_S):
            seen.append(step.key)
            if step.key == "executed" and step.state is StepState.WAITING and seen.count("executed") == 1:
                await unled.prove(proof)
                await unled.operator.deposit_bond(10**18)
                await unled.start_sequencer()
            if step.key == "final" and step.state is StepState.WAITING:
                await unled.later(WINDOW_S + 1)

        assert await unled.l1_nano(alice.address) == USD

    async def test_who_owns_nothing_is_told(self, ignored: World) -> None:
        l1 = await ignored.rollup_for(ignored.people[0])

        with pytest.raises(WalletError) as refused:
            await read(leave(l1, ignored.people[0].address, {}, freeze=True))

        assert refused.value.code == "nothing_to_exit"


async def buyer_deposits_past_the_dead(ignored: World, amount_nano: int) -> None:
    """A deposit that no sequencer will ever execute."""
    alice, deployment = ignored.people[0], ignored.deployment
    bridge = Bridge(ignored.l1.url, inbox_address=deployment.inbox_address, asset_address=deployment.asset_address)
    try:
        await bridge.deposit(alice.sign_l1_transaction, alice.address, alice.address, amount_nano)
    finally:
        await bridge.aclose()
