"""A real L1 that goes back: anvil drops its newest blocks, and with them batches and deposits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from web3 import AsyncHTTPProvider, AsyncWeb3

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, OtherL1
from chain.devnet.config import DevnetParams
from chain.l1.connection import checksum
from chain.l1.deploy import deploy
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import sign_digest
from chain.txs import Transfer
from chain.views import Inclusion
from tests.chain.anvil_process import anvil
from tests.chain.sequencer.conftest import until
from tests.chain.support import rebuild_state
from tests.chain.test_devnet import ALICE, ALICE_KEY, QUICK, funded
from tests.patience import PATIENCE_S
from tests.villains.arena import (
    BOB,
    ETHER,
    OPERATOR,
    OPERATOR_KEY,
    PARAMS,
    SECOND,
    SECOND_KEY,
    Clock,
    Sequencer,
    deposit,
)


async def test_what_a_reorg_took_is_posted_again_and_a_deposit_that_vanished_is_taken_back(tmp_path: Path) -> None:
    async with anvil() as url:
        other = OtherL1(url=url, use_dev_account=True)
        params = DevnetParams.with_window(3_600)
        async with Devnet(tmp_path, params=params, config=DevnetConfig(sequencer=QUICK), other_l1=other) as devnet:
            web3, sequencer = devnet.rollup.connection.web3, devnet.sequencer
            async with RollupClient(devnet.ready.l2_url) as client:
                await client.faucet(ALICE)
                account = await funded(client, ALICE)
                await client.flush()
                before = (await web3.provider.make_request("evm_snapshot", []))["result"]
                transfer = Transfer(account.index, account.index, 5, 1_000)
                raw = transfer.encode(
                    sign_digest(ALICE_KEY, transfer.digest(await client.domain(), account.nonce, ALICE))
                )
                receipt = await client.submit(raw)
                await client.wait_for(receipt.l2_tx, Inclusion.BATCHED, timeout_s=PATIENCE_S)
                blobs = [posted.blob for posted in await devnet.rollup.batches(0, 16)]

                assert (await web3.provider.make_request("evm_revert", [before]))["result"]
                async with asyncio.timeout(PATIENCE_S):
                    while [posted.blob for posted in await devnet.rollup.batches(0, 16)] != blobs:
                        await asyncio.sleep(0.05)
                await client.wait_for(receipt.l2_tx, Inclusion.BATCHED, timeout_s=PATIENCE_S)

                before = (await web3.provider.make_request("evm_snapshot", []))["result"]
                await _deposit_again(devnet, account.index)
                await until(
                    lambda: sequencer.head.state.account(account.index).balance_nano == account.balance_nano + 6_000
                )
                assert (await web3.provider.make_request("evm_revert", [before]))["result"]
                await until(
                    lambda: sequencer.head.state.account(account.index).balance_nano == account.balance_nano - 1_000
                )
                await client.flush()
            assert (await rebuild_state(devnet.rollup)).root() == sequencer.head.state.root()


async def test_a_batch_that_is_mined_again_on_another_deposit_reverts_and_keeps_its_bond() -> None:
    async with anvil() as url, AsyncExitStack() as stack:
        provider = AsyncWeb3(AsyncHTTPProvider(url)).provider
        stack.push_async_callback(provider.disconnect)
        for owner in (OPERATOR, SECOND):
            await provider.make_request("anvil_setBalance", [checksum(owner), hex(100 * ETHER)])
        deployment = await deploy(url, OPERATOR_KEY, PARAMS)
        operator, depositor = (JsonRpcRollupL1(url, deployment, key) for key in (OPERATOR_KEY, SECOND_KEY))
        for l1 in (operator, depositor):
            stack.push_async_callback(l1.aclose)
        sequencer = Sequencer(operator, deployment, OPERATOR_KEY, Clock(await operator.time_s()))
        bond = (await operator.bond(OPERATOR)).amount_wei
        before = (await provider.make_request("evm_snapshot", []))["result"]
        await deposit(depositor, owner=BOB, amount_nano=5)
        posted = await sequencer.post()
        raw = (await provider.make_request("eth_getRawTransactionByHash", ["0x" + posted.l1_tx.hex()]))["result"]

        assert (await provider.make_request("evm_revert", [before]))["result"]
        await deposit(depositor, owner=BOB, amount_nano=7)
        sent = await provider.make_request("eth_sendRawTransaction", [raw])

        receipt = await operator.connection.web3.eth.get_transaction_receipt(sent["result"])
        assert receipt["status"] == 0
        assert await operator.batch_count() == 0
        assert (await operator.bond(OPERATOR)).amount_wei == bond > 0
        await sequencer.sync()
        again = await sequencer.post()
        assert (again.batch_id, again.inbox_hash) == (0, await operator.inbox_hash(1))
        assert (await rebuild_state(operator)).root() == sequencer.state.root()


async def _deposit_again(devnet: Devnet, number: int) -> None:
    signer, deployment = devnet.rollup.signer, await devnet.rollup.deployment()
    assert signer is not None
    connection = devnet.rollup.connection
    asset = connection.contract("TestUSD", deployment.asset_address)
    await signer.send(asset.functions.mint(connection.web3.to_checksum_address(signer.address), 7_000 * 10**9))
    inbox = connection.contract("Inbox", deployment.inbox_address)
    await signer.send(asset.functions.approve(inbox.address, 2**256 - 1))
    await signer.send(inbox.functions.deposit(connection.web3.to_checksum_address(ALICE), number, 7_000))
