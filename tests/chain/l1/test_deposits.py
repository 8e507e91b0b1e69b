"""Deposits of one wallet at once, with signed approvals and without, in units of any size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.l1.bridge import Bridge
from chain.l1.connection import checksum
from chain.l1.deploy import deploy
from chain.l1.embedded.server import L1Server
from chain.l1.permit import domain_separator, read_permit
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import sign_digest
from tests.chain.contracts.conftest import compiled_odd_contracts
from tests.chain.l1.conftest import ALICE, ALICE_KEY, BOB, NANO, OPERATOR_KEY, PARAMS, sign

sign_approval = partial(sign_digest, ALICE_KEY)


@pytest.fixture
async def second(bridge: Bridge, rollup: JsonRpcRollupL1, deployment: Deployment) -> AsyncIterator[Bridge]:
    """The same wallet in another program."""
    url = rollup.connection._provider._url
    second = Bridge(url, inbox_address=deployment.inbox_address, asset_address=deployment.asset_address)
    yield second
    await second.aclose()


@pytest.fixture
async def six_decimals(l1: L1Server, rollup: JsonRpcRollupL1) -> AsyncIterator[tuple[Bridge, Deployment]]:
    """Alice's ten dollars on a rollup that settles in an asset such as USDC."""
    assert rollup.signer is not None
    compiled = compiled_odd_contracts()["SixDecimals"]
    bytecode = "0x" + compiled["evm"]["bytecode"]["object"]
    factory = rollup.connection.web3.eth.contract(abi=compiled["abi"], bytecode=bytecode)
    created = (await rollup.signer.send(factory.constructor()))["contractAddress"]
    asset = bytes.fromhex(created[2:])
    deployment = await deploy(l1.url, OPERATOR_KEY, replace(PARAMS, asset_address=asset))
    contract = rollup.connection.contract("TestUSD", asset)
    await rollup.signer.send(contract.functions.mint(checksum(ALICE), 10 * 10**6))
    bridge = Bridge(l1.url, inbox_address=deployment.inbox_address, asset_address=asset)
    yield bridge, deployment
    await bridge.aclose()


async def allowance(bridge: Bridge) -> int:
    spender = checksum(bridge._inbox_address)
    return int(await bridge._connection.call(bridge._asset.functions.allowance(checksum(ALICE), spender)))


async def test_a_signed_approval_needs_one_transaction(bridge: Bridge) -> None:
    nonce = await bridge._connection.next_nonce(ALICE)

    await bridge.deposit(sign, ALICE, BOB, 2 * NANO, sign_digest=sign_approval)

    assert await bridge._connection.next_nonce(ALICE) == nonce + 1
    assert await bridge.asset_balance_nano(ALICE) == 8 * NANO
    assert await allowance(bridge) == 0


@pytest.mark.parametrize("signs", [True, False])
async def test_deposits_of_two_programs_at_once_all_arrive(
    bridge: Bridge, second: Bridge, rollup: JsonRpcRollupL1, signs: bool
) -> None:
    approval = sign_approval if signs else None
    amounts = [3 * NANO, 1 * NANO, 2 * NANO]

    await asyncio.gather(
        *(
            one.deposit(sign, ALICE, ALICE, amount, sign_digest=approval)
            for one, amount in zip((bridge, second, bridge), amounts, strict=True)
        )
    )

    messages = await rollup.inbox_messages(0, 10)
    assert sorted(message.amount_nano for message in messages) == sorted(amounts)
    assert await bridge.asset_balance_nano(ALICE) == 4 * NANO


async def test_an_approval_is_for_exactly_what_is_deposited(bridge: Bridge) -> None:
    await bridge.deposit(sign, ALICE, ALICE, 3 * NANO)

    assert await allowance(bridge) == 0


async def test_a_separator_that_is_not_the_assets_own_is_not_signed(
    bridge: Bridge, rollup: JsonRpcRollupL1, deployment: Deployment
) -> None:
    """The rollup has none of the methods, and an asset that tells another's separator would get its signature."""
    wanted = {"owner": ALICE, "spender": bridge._inbox_address, "units": 1}
    real = await read_permit(bridge._connection, bridge._asset, **wanted)
    chain_id = int(await bridge._connection.web3.eth.chain_id)
    stranger = bridge._connection.contract("TestUSD", deployment.rollup_address)

    assert real is not None
    assert real.domain_separator == domain_separator("Test USD", "1", chain_id, deployment.asset_address)
    assert await read_permit(bridge._connection, stranger, **wanted) is None
    assert real.digest() != replace(real, domain_separator=bytes(32)).digest()


class TestSixDecimals:
    async def test_money_is_counted_in_nano_all_the_same(self, six_decimals: tuple[Bridge, Deployment]) -> None:
        bridge, deployment = six_decimals

        await bridge.deposit(sign, ALICE, ALICE, 2_500_000_000, sign_digest=sign_approval)

        assert deployment.nano_per_unit == 1_000
        assert await bridge.asset_balance_nano(ALICE) == 7_500_000_000

    async def test_a_deposit_is_whole_units(self, six_decimals: tuple[Bridge, Deployment]) -> None:
        bridge, _ = six_decimals

        with pytest.raises(ChainRejectedError, match="smallest unit") as refused:
            await bridge.deposit(sign, ALICE, ALICE, 2_500_000_001)

        assert (refused.value.code, "$2.50" in refused.value.fix) == ("not_whole_units", True)
