"""What a node says of the rollup's safety after L1 took it back: a real anvil that forgets its newest blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chain.devnet import Devnet, DevnetConfig, OtherL1
from chain.devnet.config import DevnetParams
from chain.devnet.home import DevnetHome
from chain.l1.protocol import FraudProof
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import checksum_address, keccak256
from node.values import DisputeStage, SafetyView
from tests.chain.anvil_process import anvil
from tests.chain.test_devnet import QUICK
from tests.node.conftest import RunNode
from tests.node.rollup.test_safety import known, limits, seen
from tests.wallet.world import lie

__all__ = ["limits"]

REVEAL_BLOCKS, ETHER = 2, 10**18
SECOND_KEY = keccak256(b"a second sequencer that never was")


async def ask(l1: JsonRpcRollupL1, method: str, *params: object) -> object:
    return (await l1.connection.web3.provider.make_request(method, list(params)))["result"]


async def prove(l1: JsonRpcRollupL1, proof: FraudProof) -> None:
    assert l1.sender is not None
    await l1.commit_fraud(proof.commitment(l1.sender))
    for _ in range(REVEAL_BLOCKS):
        await ask(l1, "evm_mine")
    await l1.prove_fraud(proof)


@pytest.mark.parametrize("height", ["same", "lower"])
async def test_a_fraud_and_a_bond_that_a_reorg_took_are_told_no_more(
    tmp_path: Path, run_node: RunNode, height: str
) -> None:
    home, params = tmp_path / "devnet", DevnetParams.with_window(3_600, reveal_delay_blocks=REVEAL_BLOCKS)
    async with anvil() as url:
        other = OtherL1(url=url, use_dev_account=True)
        async with Devnet(home, params=params, config=DevnetConfig(sequencer=QUICK), other_l1=other) as devnet:
            deployment, chain_url = await devnet.rollup.deployment(), devnet.ready.l2_url
            async with run_node("home", chain=chain_url) as node:
                await known(node)
        # L1 alone is asked from here on: the sequencer is gone.
        opened = DevnetHome(home)
        operator = JsonRpcRollupL1(url, deployment, opened.operator_key())
        second = JsonRpcRollupL1(url, deployment, SECOND_KEY)
        opened.release()
        assert operator.signer is not None
        assert second.sender is not None
        try:
            await operator.signer.send_ether(second.sender, 2 * ETHER)
            before = await ask(operator, "evm_snapshot")
            await second.deposit_bond(ETHER)
            proof = await lie(operator)
            await prove(operator, proof)
            top = await operator.block_number()
            async with run_node("home", chain=chain_url) as node:
                await seen(node, lambda snapshot: bool(snapshot.alarm and "FRAUD" in snapshot.alarm.text))
                told = await safety_of(node)
                assert [one.stage for one in told.disputes] == [DisputeStage.REVERTED]
                assert bonds(told)[checksum_address(second.sender)] == ETHER
                assert bonds(told)[checksum_address(operator.sender)] == 0

                assert await ask(operator, "evm_revert", before)
                while height == "same" and await operator.block_number() < top:
                    await ask(operator, "evm_mine")

                await seen(node, lambda snapshot: snapshot.alarm is None)
                # It may have looked while there were fewer blocks.
                while (told := await safety_of(node)).l1_block != await operator.block_number():
                    await asyncio.sleep(0.02)
                assert told.disputes == ()
                assert told.announced == 0
                assert checksum_address(second.sender) not in bonds(told)
                assert bonds(told)[checksum_address(operator.sender)] == ETHER
                assert (told.l1_block == top) == (height == "same")

                # And what happens on the new history is told as ever.
                await prove(operator, await lie(operator, b"\x01" * 32))
                await seen(node, lambda snapshot: bool(snapshot.alarm and "FRAUD" in snapshot.alarm.text))
                assert len((await safety_of(node)).disputes) == 1
        finally:
            await operator.aclose()
            await second.aclose()


async def safety_of(node) -> SafetyView:
    safety = (await node.chain()).safety
    assert safety is not None
    return safety


def bonds(safety: SafetyView) -> dict[str, int]:
    return {one.address: one.bond_wei for one in safety.sequencers}
