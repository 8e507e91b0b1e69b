"""Where the wallet's money is, also while a part of the chain can't be read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from node.payments.balances import money_view
from node.rollup.monitor import Rollup, RollupMonitor
from tests.node.conftest import PASSPHRASE, RunNode
from wallet.verifier import StateVerifier


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
