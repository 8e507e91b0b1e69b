"""`idlewatt devnet --l1` as a person types it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import cli
from chain.client import RollupClient
from chain.signing import parse_address
from tests.chain.anvil_process import anvil
from tests.chain.test_devnet import ALICE
from tests.e2e.conftest import Commands
from tests.patience import PATIENCE_S
from wallet.l1 import open_rollup


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    running = Commands(tmp_path)
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--l1", "127.0.0.1:8545"], "http://host:port"),
        (["--l1-dev-funds"], "Give --l1 as well"),
        (["--rollup", "0x" + "11" * 20], "Give --l1 as well"),
        (["--inbox-confirmations", "3"], "Give --l1 as well"),
        (["--ether-price", "3000"], "Give --l1 as well"),
        (["--trusted-proxy", "my-proxy"], "10.0.0.0/8"),
        (["--l1", "http://127.0.0.1:1", "--inbox-confirmations", "-1"], "0<=x<=1000"),
        (["--l1", "http://127.0.0.1:1", "--rollup", "0x11"], "takes a rollup's address"),
    ],
)
def test_wrong_usage_says_what_to_do_and_starts_nothing(tmp_path: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["devnet", "--home", str(tmp_path), *options])

    text = result.output + (result.exception.line() if hasattr(result.exception, "line") else "")
    assert said in text
    assert not (tmp_path / "devnet" / "deployment.json").exists()


async def test_a_deposit_waits_for_as_many_blocks_as_inbox_confirmations_says(commands: Commands) -> None:
    confirmations = 5
    async with anvil() as url:
        options = ["--l1", url, "--l1-dev-funds", "--l2-port", "0", "--inbox-confirmations", str(confirmations)]
        facts = await asyncio.to_thread(commands.start, "devnet", "--home", "iw/net", *options)
        async with RollupClient(facts["l2"]) as client:
            l1 = await open_rollup(url, parse_address((await client.info()).rollup_address))
            try:
                await client.faucet(ALICE)
                (deposit,) = [one for one in await l1.inbox_messages(0, 10) if one.owner == ALICE]
                async with asyncio.timeout(PATIENCE_S):
                    while (account := await client.account(ALICE)) is None or not account.balance_nano:
                        await l1.connection.web3.provider.make_request("evm_mine", [])
                        await asyncio.sleep(0.05)
                assert await l1.block_number() >= deposit.l1_block + confirmations
            finally:
                await l1.aclose()


async def test_with_an_ethers_price_fees_follow_what_the_l1_asks_for(commands: Commands) -> None:
    async with anvil() as url:
        options = ["--l1", url, "--l1-dev-funds", "--l2-port", "0", "--ether-price", "3000"]
        facts = await asyncio.to_thread(commands.start, "devnet", "--home", "iw/net", *options)
        async with RollupClient(facts["l2"]) as client:
            info = await client.info()
            l1 = await open_rollup(url, parse_address(info.rollup_address))
            try:
                gas_nano = await l1.gas_price_wei() * 3_000 // 10**9
            finally:
                await l1.aclose()
            # Between the start and now a block or two may have changed the base fee, by an eighth each.
            assert 3_000 * gas_nano < info.fees.transfer_nano < 6_000 * gas_nano
            assert info.fees.withdraw_nano > 20 * info.fees.transfer_nano
