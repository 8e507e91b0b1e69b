"""A whole life in an asset of six decimals, as USDC: L2 counts every nano, L1 pays whole units, nothing is made up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.errors import ChainRejectedError
from tests.wallet.moves import claimed, transfer
from tests.wallet.test_ways_out import POLL_S, USD, read
from tests.wallet.world import FREEZE_S, WINDOW_S, World
from wallet.exits import leave
from wallet.wallet_error import WalletError

UNIT_NANO = 1_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path, decimals=6) as running:
        yield running


async def test_money_comes_moves_is_claimed_and_leaves_a_frozen_rollup(world: World) -> None:
    alice, bob, _ = world.people
    await world.mint(0, 1 * USD)
    wallet = await world.funded(0, 9 * USD)
    assert (await wallet.info()).nano_per_unit == UNIT_NANO

    await transfer(wallet, world.client, bob.address, 2 * USD + 1)
    receipt = await wallet.withdraw(3 * USD)
    await world.client.flush()
    await world.later(WINDOW_S + 1)
    await claimed(world.client, alice.address, receipt.l2_tx)
    assert await world.l1_nano(alice.address) == 4 * USD

    left = {account.address: await world.wallet(number).balance() for number, account in enumerate((alice, bob))}
    assert left[bob.address] % UNIT_NANO == 1
    await world.stop_sequencer()
    await world.operator.force_tx(b"ignored")
    await world.later(FREEZE_S + WINDOW_S + 2)
    for account in (alice, bob):
        l1 = await world.rollup_for(account)
        await read(leave(l1, account.address, {}, freeze=True, poll_s=POLL_S))

    assert await world.l1_nano(bob.address) == left[bob.address] - 1
    assert await world.l1_nano(alice.address) == 4 * USD + left[alice.address] // UNIT_NANO * UNIT_NANO
    # What rounding left and the fees stay, to the last unit.
    paid = await world.l1_nano(alice.address) + await world.l1_nano(bob.address)
    assert await world.l1_nano(world.deployment.rollup_address) == 10 * USD - paid


async def test_amounts_finer_than_a_unit_are_refused_with_the_nearest_one(world: World) -> None:
    await world.mint(0, 1 * USD)
    wallet = await world.funded(0, 5 * USD)

    with pytest.raises(WalletError, match="whole units") as refused:
        await wallet.withdraw(USD + 1)
    assert (refused.value.code, "$1.00" in refused.value.fix) == ("not_whole_units", True)
    with pytest.raises(ChainRejectedError, match="smallest unit"):
        await wallet.deposit(USD // 2 + 1)

    await wallet.withdraw(None)
    assert await wallet.balance() < UNIT_NANO
