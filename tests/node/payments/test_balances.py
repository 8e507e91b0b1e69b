"""Where the wallet's money is, also while a part of the chain can't be read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from node.payments.balances import money_view
from node.rollup.monitor import Rollup, RollupMonitor
from tests.node.conftest import PASSPHRASE, RunNode
from tests.wallet.moves import transfer
from tests.wallet.world import World
from wallet.liquidity.pricing import PricingPolicy
from wallet.liquidity.provider import LiquidityProvider
from wallet.verifier import StateVerifier

USD = 10**9


@dataclass
class WithL1At:
    """A chain whose rollup answers and whose L1 is said to be at another address."""

    chain: RollupMonitor
    l1_url: str

    async def rollup(self) -> Rollup:
        rollup = await self.chain.rollup()
        return replace(rollup, info=msgspec.structs.replace(rollup.info, l1_rpc_url=self.l1_url))

    async def verifier(self) -> StateVerifier | None:
        return await self.chain.verifier()


async def test_an_l1_that_does_not_answer_leaves_its_line_out_and_the_rest_shows(run_node: RunNode, devnet):
    async with run_node("home", chain=devnet.l2_url) as node:
        await node.create_wallet("main", PASSPHRASE)
        await node.faucet("main")
        whole = await money_view(node._wallet, node._chain, node._store)
        without_l1 = await money_view(node._wallet, WithL1At(node._chain, "http://127.0.0.1:9"), node._store)

    assert {line.place for line in whole.lines} - {line.place for line in without_l1.lines} == {"l1"}
    # A batch may have come between the two looks, and proven more.
    shown = [(line.place, line.label, line.amount_nano) for line in whole.lines if line.place != "l1"]
    assert [(line.place, line.label, line.amount_nano) for line in without_l1.lines] == shown
    on_l1_nano = sum(line.amount_nano for line in whole.lines if line.place == "l1")
    assert without_l1.total_nano == whole.total_nano - on_l1_nano


async def test_a_claim_that_was_sold_is_on_l1_and_counted_once(run_node: RunNode, tmp_path: Path):
    async with World(tmp_path) as world, run_node("home", chain=world.client.url) as node:
        await node.create_wallet("main", PASSPHRASE)
        giver, buyer = await world.funded(0, 10 * USD), world.people[1]
        await world.mint(1, 50 * USD)
        seller = node._wallet.unlocked().address
        await world.give_ether(seller)
        await transfer(giver, world.client, seller, 5 * USD)
        before = await node.money("main")
        l2_fee_nano = (await node.fees()).withdraw_nano
        l1 = await world.rollup_for(buyer)
        offering = asyncio.create_task(
            LiquidityProvider(l1, world.client, policy=PricingPolicy(max_exposure_nano=10 * USD)).run(poll_s=0.05)
        )
        try:
            async with node.fast_withdraw("main", 2 * USD, USD // 10, within_s=300) as steps:
                async for step in steps:
                    if step.key == "offer":
                        await world.later(150)
        finally:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
        after = await node.money("main")

    assert step.key == "sold"
    (sold,) = [line for line in after.lines if line.place == "withdrawing"]
    assert (sold.claim, sold.amount_nano) == ("sold", 0)
    assert "of $2.00" in sold.label
    assert after.total_nano == before.total_nano - l2_fee_nano - step.fee_nano


async def test_a_stake_stays_in_sight_and_in_the_sum(run_node: RunNode, devnet):
    async with run_node("home", chain=devnet.l2_url) as node:
        await node.create_wallet("main", PASSPHRASE)
        await node.faucet("main")
        before, fees = await node.money("main"), await node.fees()
        await node.stake("main", 3 * USD)
        await node.unstake("main", USD)
        after = await node.money("main")

    staked = {line.label: line.amount_nano for line in after.lines if line.place == "stake"}
    assert staked == {"Staked behind receipts": 2 * USD, "On its way out of the stake": USD}
    assert after.total_nano == before.total_nano - fees.stake_nano - fees.unstake_nano
