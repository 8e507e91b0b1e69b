"""Sellers, buyers and watchtowers on a real rollup: everything goes over the L1's and the sequencer's sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.replay import rules_of
from chain.types import Withdrawal
from chain.watchtower.attester import AttestationPublisher, Attester
from chain.watchtower.tower import Watchtower
from tests.wallet.moves import until
from tests.wallet.world import WINDOW_S, World
from wallet.attesters import AttestationReader
from wallet.fast_withdrawal import fast_withdraw
from wallet.liquidity.pricing import PricingPolicy
from wallet.liquidity.provider import LiquidityEvent, LiquidityProvider
from wallet.steps import StepState, WithdrawalStep
from wallet.wallet_error import WalletError

USD = 10**9
POLICY = PricingPolicy(max_exposure_nano=100 * USD)
SELLER, BUYER, TOWER = range(3)
DAY_S = 24 * 3600


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The first person has five dollars on L2, the second fifty on L1."""
    async with World(tmp_path) as running:
        await running.funded(SELLER, 5 * USD)
        await running.mint(BUYER, 50 * USD)
        yield running


class Shop:
    """A buyer that looks when it is told to."""

    def __init__(self, provider: LiquidityProvider, events: list[LiquidityEvent]) -> None:
        self.provider, self.events = provider, events

    def told(self) -> list[str]:
        return [event.kind + (f":{event.code}" if event.code else "") for event in self.events]


async def opened(world: World, policy: PricingPolicy = POLICY) -> Shop:
    events: list[LiquidityEvent] = []
    l1 = await world.rollup_for(world.people[BUYER])
    return Shop(LiquidityProvider(l1, world.client, policy=policy, on_event=events.append), events)


async def offered(world: World, amount_nano: int = 2 * USD, max_fee_nano: int = USD // 10, **terms: int) -> SignedOrder:
    """A withdrawal in a batch on L1 whose recipient offers it; the fee has reached its maximum."""
    wallet = world.wallet(SELLER)
    receipt = await wallet.withdraw(amount_nano)
    await world.client.flush()
    views = await world.client.withdrawals_of(wallet.address)
    (view,) = [view for view in views if view.l2_tx == receipt.l2_tx]
    sold = Withdrawal(recipient=wallet.address, amount_nano=amount_nano, account=view.account_index, nonce=view.nonce)
    now_s = await world.operator.time_s()
    times = {"start_s": now_s - DAY_S, "deadline_s": now_s + 60} | terms
    order = WithdrawalOrder(withdrawal=sold, max_fee_nano=max_fee_nano, **times)
    signed = SignedOrder(order=order, signature=sign(world, order))
    await world.client.offer_withdrawal(signed)
    return signed


def sign(world: World, order: WithdrawalOrder, number: int = SELLER) -> bytes:
    return world.people[number].sign_digest(order.digest(rules_of(world.deployment).domain))


async def sold(world: World, **options: int | None) -> tuple[list[WithdrawalStep], asyncio.Task[None]]:
    """A seller at work; returns the steps as they come, and the task."""
    steps: list[WithdrawalStep] = []
    l1 = await world.rollup_for(world.people[SELLER])

    async def sell() -> None:
        terms = {"amount": 2 * USD, "max_fee": USD // 10, "within_s": 300} | options
        async for step in fast_withdraw(
            l1, world.client, world.wallet(SELLER), terms["amount"], terms["max_fee"],
            within_s=terms["within_s"], poll_s=0.02,
        ):  # fmt: skip
            steps.append(step)

    return steps, asyncio.create_task(sell())


async def offering(steps: list[WithdrawalStep]) -> None:
    """Wait until the claim is on the board, or as good as."""

    async def is_offered() -> bool:
        return any(step.key == "offer" for step in steps)

    await until(is_offered, "The claim was not offered.")


class TestSelling:
    async def test_the_money_comes_at_once_and_the_buyer_is_paid_when_it_is_final(self, world: World) -> None:
        shop = await opened(world)
        steps, selling = await sold(world)
        await offering(steps)
        await world.later(150)

        async def bought() -> bool:
            return await shop.provider.step() == 1

        await until(bought, "The claim was not bought.")
        await selling

        last = steps[-1]
        assert (last.key, last.state) == ("sold", StepState.DONE)
        assert last.fee_nano is not None
        assert 0 < last.fee_nano <= USD // 10 - (await world.client.fees()).withdraw_nano
        assert last.amount_nano == 2 * USD - last.fee_nano
        assert await world.l1_nano(world.people[SELLER].address) == last.amount_nano
        assert shop.provider.view().waiting_nano == last.amount_nano

        await world.later(WINDOW_S)
        await shop.provider.step()
        assert await world.l1_nano(world.people[BUYER].address) == 50 * USD + last.fee_nano
        view = shop.provider.view()
        assert (view.bought, view.earned_nano, view.waiting_nano) == (1, last.fee_nano, 0)
        assert shop.told() == ["bought", "claimed"]

    async def test_what_nobody_buys_goes_the_usual_way(self, world: World) -> None:
        steps, selling = await sold(world, within_s=1)
        await offering(steps)
        await world.later(3)
        await selling
        assert [step.key for step in steps] == ["quote", "withdraw", "batch", "offer", "claim"]
        assert (steps[-1].state, steps[-1].fee_nano) == (StepState.WAITING, None)

    async def test_a_fee_or_a_time_that_makes_no_sense_is_refused_before_anything_moves(self, world: World) -> None:
        own_nano = (await world.client.fees()).withdraw_nano
        for wrong in (
            {"max_fee": 0}, {"max_fee": 3 * USD}, {"max_fee": own_nano}, {"max_fee": 1}, {"within_s": 0},
            {"within_s": 10**6}, {"amount": None, "max_fee": 10**6 * USD},
        ):  # fmt: skip
            steps, selling = await sold(world, **wrong)
            with pytest.raises(WalletError) as refused:
                await selling
            assert refused.value.code == "bad_amount"
            assert steps == []
        assert await world.client.withdrawals_of(world.people[SELLER].address) == []


class TestBuying:
    async def test_an_offer_below_the_price_is_passed_and_said_once(self, world: World) -> None:
        await offered(world, max_fee_nano=10)
        shop = await opened(world)
        assert [await shop.provider.step() for _ in range(2)] == [0, 0]
        assert shop.told() == ["passed:fee"]

    async def test_no_more_is_out_at_once_than_was_said_and_paid_claims_make_room(self, world: World) -> None:
        shop = await opened(world, replace(POLICY, max_exposure_nano=3 * USD))
        await offered(world)
        await offered(world)
        assert await shop.provider.step() == 1
        assert await shop.provider.step() == 0
        assert shop.told() == ["bought", "passed:exposure"]

        await world.later(WINDOW_S)
        await shop.provider.step()
        assert shop.provider.view().waiting_nano == 0
        await offered(world, USD // 2)
        assert await shop.provider.step() == 1

    async def test_a_buyer_that_was_killed_neither_buys_twice_nor_forgets_its_claim(self, world: World) -> None:
        """Nothing on its disk: another process with the same key finds everything on L1."""
        await offered(world)
        assert await (await opened(world)).provider.step() == 1
        again = await opened(world)
        assert await again.provider.step() == 0
        assert again.provider.view().bought == 1
        await world.later(WINDOW_S)
        third = await opened(world)
        await third.provider.step()
        assert third.told() == ["claimed"]
        assert third.provider.view().earned_nano > 0

    async def test_a_purchase_that_l1_hides_for_a_moment_is_found_again_however_old(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One node of several behind a URL, far behind the others."""
        await offered(world)
        shop = await opened(world)
        assert await shop.provider.step() == 1
        monkeypatch.setattr("wallet.liquidity.provider.REREAD_BLOCKS", -1)
        l1 = shop.provider._l1
        with monkeypatch.context() as behind:
            behind.setattr(l1, "claimant", _nobody)
            await shop.provider.look()
        assert shop.provider.view().bought == 0
        await shop.provider.look()
        assert shop.provider.view().bought == 1

    async def test_nothing_is_bought_on_top_of_a_wrong_batch(self, world: World) -> None:
        shop = await opened(world)
        await offered(world)
        await world.lie()
        assert await shop.provider.step() == 1
        assert shop.told() == ["wrong", "bought"]

    async def test_as_many_watchtowers_must_vouch_as_were_demanded(self, world: World) -> None:
        demanding = await opened(world, replace(POLICY, attestations=1))
        signed = await offered(world)
        assert await demanding.provider.step() == 0
        assert demanding.told() == ["passed:attestations"]

        await vouched(world)
        fresh = await opened(world, replace(POLICY, attestations=1))
        assert await fresh.provider.step() == 1
        assert await world.operator.claimant(claim_key(signed.order.withdrawal)) == world.people[BUYER].address


async def _nobody(_key: bytes) -> None:
    """What a node says that hasn't seen the purchase."""


async def vouched(world: World, bond_wei: int = 10**16) -> AttestationPublisher:
    """A bonded watchtower that executed everything, and said so."""
    l1 = await world.rollup_for(world.people[TOWER])
    await l1.deposit_attester_bond(bond_wei)
    attester = Attester(rules_of(world.deployment).domain, world.people[TOWER])
    tower = Watchtower(l1, on_verified=attester.note)
    await tower.settle()
    publisher = AttestationPublisher(l1, world.client, attester, lambda: tower.view().verified_batches)
    await publisher.step()
    return publisher


class TestVouching:
    async def test_who_reads_counts_bonded_watchtowers_that_vouch_for_everything(self, world: World) -> None:
        reader = AttestationReader(world.operator, world.client)
        newest = await world.operator.batch_count() - 1
        assert (await reader.behind(newest)).attesters == 0
        publisher = await vouched(world)
        found = await AttestationReader(world.operator, world.client).behind(newest)
        assert (found.attesters, found.bonded_wei) == (1, 10**16)
        assert await publisher.step() == 0

        await offered(world)
        later = await world.operator.batch_count() - 1
        assert (await AttestationReader(world.operator, world.client).behind(later)).attesters == 0

    async def test_a_bond_on_its_way_out_counts_no_more(self, world: World) -> None:
        await vouched(world)
        l1 = await world.rollup_for(world.people[TOWER])
        await l1.start_bond_withdrawal()
        newest = await world.operator.batch_count() - 1
        assert (await AttestationReader(world.operator, world.client).behind(newest)).attesters == 0

    async def test_a_word_without_a_bond_is_not_kept(self, world: World) -> None:
        l1 = await world.rollup_for(world.people[TOWER])
        attester = Attester(rules_of(world.deployment).domain, world.people[TOWER])
        tower = Watchtower(l1, on_verified=attester.note)
        await tower.settle()
        publisher = AttestationPublisher(l1, world.client, attester, lambda: tower.view().verified_batches)
        with pytest.raises(ChainRejectedError) as refused:
            await publisher.step()
        assert refused.value.code == "no_attester"

    async def test_who_vouches_for_a_wrong_batch_loses_its_bond(self, world: World) -> None:
        """A watchtower that signs what it never executed."""
        l1 = await world.rollup_for(world.people[TOWER])
        await l1.deposit_attester_bond(10**16)
        proof = await world.lie()
        name = await l1.batch_hash(proof.batch_id)
        attester = Attester(rules_of(world.deployment).domain, world.people[TOWER])
        attester._names[proof.batch_id] = name
        (word,) = attester.words(proof.batch_id, proof.batch_id + 1)
        await world.prove(proof)
        assert await l1.is_proven_wrong(name)
        await world.operator.slash_attester(word)
        assert (await l1.attester_bond(world.people[TOWER].address)).amount_wei == 0


class TestTheBoard:
    async def test_takes_offers_for_withdrawals_that_exist_signed_by_their_recipient(self, world: World) -> None:
        signed = await offered(world)
        assert [view.amount_nano for view in await world.client.withdrawal_offers()] == [2 * USD]
        order = signed.order
        other = replace(order, withdrawal=replace(order.withdrawal, nonce=order.withdrawal.nonce + 1))
        over = replace(order, deadline_s=order.start_s + 1)
        for wrong, signer, code in (
            (order, BUYER, "bad_signature"),
            (other, SELLER, "no_such_withdrawal"),
            (over, SELLER, "order_over"),
        ):
            with pytest.raises(ChainRejectedError) as refused:
                await world.client.offer_withdrawal(SignedOrder(order=wrong, signature=sign(world, wrong, signer)))
            assert refused.value.code == code

    async def test_keeps_the_newest_offer_of_a_withdrawal_until_it_is_over(self, world: World) -> None:
        signed = await offered(world)
        better = replace(signed.order, max_fee_nano=USD)
        await world.client.offer_withdrawal(SignedOrder(order=better, signature=sign(world, better)))
        assert [view.max_fee_nano for view in await world.client.withdrawal_offers()] == [USD]
        await world.later(120)
        await world.client.flush()

        async def is_empty() -> bool:
            return await world.client.withdrawal_offers() == []

        await until(is_empty, "The offer stayed.")
