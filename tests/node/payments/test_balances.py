"""Where the wallet's money is, also while a part of the chain can't be read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import msgspec

from chain.client import RollupClient
from chain.signing import parse_address
from node.payments.balances import money_view
from node.rollup.monitor import Rollup, RollupMonitor
from tests.node.conftest import PASSPHRASE, RunNode
from tests.wallet.network import fresh_account
from wallet.l1 import open_rollup
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
    assert without_l1.lines == tuple(line for line in whole.lines if line.place != "l1")
    on_l1_nano = sum(line.amount_nano for line in whole.lines if line.place == "l1")
    assert without_l1.total_nano == whole.total_nano - on_l1_nano


async def test_a_claim_that_was_sold_is_on_l1_and_counted_once(run_node: RunNode, devnet):
    buyer = fresh_account()
    async with run_node("home", chain=devnet.l2_url) as node, RollupClient(devnet.l2_url) as client:
        await node.create_wallet("main", PASSPHRASE)
        await node.faucet("main")
        await client.faucet(buyer.address)
        before = await node.money("main")
        l2_fee_nano = (await node.fees()).withdraw_nano
        info = await client.info()
        l1 = await open_rollup(info.l1_rpc_url, parse_address(info.rollup_address), buyer)
        offering = asyncio.create_task(
            LiquidityProvider(l1, client, policy=PricingPolicy(max_exposure_nano=10 * USD)).run(poll_s=0.05)
        )
        try:
            async with node.fast_withdraw("main", 2 * USD, USD // 10, within_s=60) as steps:
                last = [step async for step in steps][-1]
        finally:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
            await l1.aclose()
        after = await node.money("main")

    assert last.key == "sold"
    assert not [line for line in after.lines if line.place == "withdrawing"]
    assert after.total_nano == before.total_nano - l2_fee_nano - last.fee_nano
