"""The same rollup on an L1 that isn't ours: a real anvil, started by its native binary."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, OtherL1
from chain.devnet.config import DevnetParams
from chain.devnet.home import DevnetHome
from chain.errors import ChainUnavailableError, IdlewattError
from chain.l1.bridge import Bridge
from chain.l1.connection import L1Connection, L1Signer
from chain.signing import address_of, sign_digest
from chain.txs import Withdraw
from chain.views import Inclusion
from tests.chain.anvil_process import anvil
from tests.chain.test_devnet import ALICE, ALICE_KEY, BOB, QUICK, funded
from tests.patience import PATIENCE_S

ETHER = 10**18


async def test_money_goes_in_moves_and_comes_out_on_anvil_and_a_restart_resumes(tmp_path: Path) -> None:
    params = DevnetParams.with_window(2)
    async with anvil() as url:
        other = OtherL1(url=url, use_dev_account=True)
        async with Devnet(tmp_path, params=params, config=DevnetConfig(sequencer=QUICK), other_l1=other) as devnet:
            first = devnet.ready
            assert first.is_new
            assert first.l1_url == url
            async with RollupClient(first.l2_url) as client:
                await client.faucet(ALICE)
                account = await funded(client, ALICE)
                domain = await client.domain()
                withdraw = Withdraw(account.index, 3_000_000_000, 1_000, BOB)
                raw = withdraw.encode(sign_digest(ALICE_KEY, withdraw.digest(domain, account.nonce)))
                await client.wait_for((await client.submit(raw)).l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)
            bridge = Bridge(
                url,
                inbox_address=bytes.fromhex(first.inbox_address[2:]),
                asset_address=bytes.fromhex(first.asset_address[2:]),
            )
            async with asyncio.timeout(PATIENCE_S):
                while await bridge.asset_balance_nano(BOB) != 3_000_000_000:
                    await asyncio.sleep(0.02)
            await bridge.aclose()

        async with Devnet(tmp_path, config=DevnetConfig(sequencer=QUICK), other_l1=other) as devnet:
            assert not devnet.ready.is_new
            assert devnet.ready.deployment == first.deployment
            async with RollupClient(devnet.ready.l2_url) as client:
                again = await client.account(ALICE)
                assert again is not None
                assert again.balance_nano == account.balance_nano - 3_000_001_000
                assert (await client.info()).params.challenge_window_s == 2
    assert not (tmp_path / "l1.db").exists()


async def test_an_operator_without_ether_is_told_what_to_send_where(tmp_path: Path) -> None:
    async with anvil() as url:
        with pytest.raises(IdlewattError) as refused:
            async with Devnet(tmp_path, other_l1=OtherL1(url=url)):
                pytest.fail("started without money")
        assert refused.value.code == "operator_unfunded"
        home = DevnetHome(tmp_path)
        key = home.operator_key()
        home.release()
        assert address_of(key).hex() in refused.value.line().lower()
        assert key.hex() not in refused.value.line()

        await _pay(url, address_of(key))

        async with (
            Devnet(tmp_path, config=DevnetConfig(sequencer=QUICK), other_l1=OtherL1(url=url)) as devnet,
            RollupClient(devnet.ready.l2_url) as client,
        ):
            assert (await client.info()).has_faucet is False


async def test_an_anvil_that_was_started_anew_is_another_chain_in_the_same_home(tmp_path: Path) -> None:
    deployments = []
    for timestamp in ("1800000000", "1800000001"):
        async with (
            anvil("--timestamp", timestamp) as url,
            Devnet(
                tmp_path, config=DevnetConfig(sequencer=QUICK), other_l1=OtherL1(url=url, use_dev_account=True)
            ) as devnet,
        ):
            assert devnet.ready.is_new
            deployments.append(devnet.ready.deployment)

    assert len(set(deployments)) == 2
    assert len(list(tmp_path.glob("l1-31337-*.json"))) == 2


async def test_an_l1_that_signs_for_nobody_has_no_dev_account(tmp_path: Path) -> None:
    async with anvil("--accounts", "0") as url:
        with pytest.raises(IdlewattError) as refused:
            async with Devnet(tmp_path, other_l1=OtherL1(url=url, use_dev_account=True)):
                pytest.fail("started without money")

    assert refused.value.code == "no_dev_account"


async def test_an_l1_that_is_not_there_is_one_clear_line(tmp_path: Path, unused_tcp_port: int) -> None:
    with pytest.raises(ChainUnavailableError) as refused:
        async with Devnet(tmp_path, other_l1=OtherL1(url=f"http://127.0.0.1:{unused_tcp_port}")):
            pytest.fail("started without an L1")

    assert refused.value.code == "chain_unreachable"
    DevnetHome(tmp_path).release()


async def _pay(url: str, recipient: bytes) -> None:
    """Ether from anvil's first account, whose key everybody knows."""
    connection = L1Connection(url)
    try:
        known = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
        await L1Signer.of_key(connection, known).send_ether(recipient, 2 * ETHER)
    finally:
        await connection.aclose()
