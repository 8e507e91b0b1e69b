"""Deposits that named no account made one each: the wallet sees, spends and merges all of them, to the last nano."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.l1.bridge import NO_INDEX_HINT, Bridge
from chain.retry import poll
from chain.txs import Transfer
from chain.views import AccountView, SoftReceipt
from tests.patience import PATIENCE_S
from tests.wallet.world import World
from wallet.accounts import merge, spendable_of
from wallet.service import WalletService
from wallet.wallet_error import WalletError

USD = 10**9
ADDRESS = "0x" + "11" * 20


async def with_two_accounts(world: World) -> WalletService:
    """Twenty-five dollars, and five more that were deposited before the first were credited."""
    account = world.people[0]
    await world.mint(0, 30 * USD)
    deployment = world.deployment
    bridge = Bridge(world.l1.url, inbox_address=deployment.inbox_address, asset_address=deployment.asset_address)
    try:
        for amount_nano in (25 * USD, 5 * USD):
            await bridge.deposit(
                account.sign_l1_transaction,
                account.address,
                account.address,
                amount_nano,
                index_hint=NO_INDEX_HINT,
                sign_digest=account.sign_digest,
            )
    finally:
        await bridge.aclose()
    wallet = world.wallet(0)

    async def both() -> bool | None:
        return len(await wallet.accounts()) == 2 or None

    await poll(both, timeout_s=PATIENCE_S, message="Both deposits are credited.")
    return wallet


async def test_what_two_deposits_brought_is_shown_spent_and_merged(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await with_two_accounts(world)
        fee_nano = (await wallet.info()).params.min_fee_nano
        assert await wallet.balance() == 30 * USD

        await wallet.withdraw(28 * USD)

        first, second = await wallet.accounts()
        assert first.balance_nano + second.balance_nano == 2 * USD - 2 * fee_nano
        assert second.balance_nano == 0
        assert (await wallet.merge()).accounts == ()


async def test_merging_says_what_it_moved_and_cost(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await with_two_accounts(world)
        fee_nano = (await wallet.info()).params.min_fee_nano

        merged = await wallet.merge()

        assert (merged.moved_nano, merged.fees_nano, len(merged.l2_txs)) == (5 * USD - fee_nano, fee_nano, 1)
        assert [view.balance_nano for view in await wallet.accounts()] == [30 * USD - fee_nano, 0]
        with pytest.raises(WalletError, match="Not enough money"):
            await wallet.withdraw(30 * USD + 1)


async def test_everything_can_be_withdrawn_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await with_two_accounts(world)

        await wallet.withdraw(None)

        assert await wallet.balance() == 0


async def test_deposits_at_once_from_one_wallet_all_arrive(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.mint(0, 6 * USD)
        one, other = world.wallet(0), world.wallet(0)

        await asyncio.gather(one.deposit(1 * USD), other.deposit(2 * USD), one.deposit(3 * USD))

        async def all_there() -> bool | None:
            return await one.balance() == 6 * USD or None

        await poll(all_there, timeout_s=PATIENCE_S, message="All deposits are credited.")


@given(st.lists(st.integers(0, 2**65), min_size=1, max_size=6), st.integers(0, 1_000), st.integers(0, 2**66))
def test_merging_loses_nothing_but_the_fees(balances: list[int], fee_nano: int, enough_nano: int) -> None:
    views = [
        AccountView(index=number, address=ADDRESS, balance_nano=balance, nonce=0)
        for number, balance in enumerate(balances, 1)
    ]
    held = {view.index: view.balance_nano for view in views}

    async def send(view: AccountView, tx: Transfer) -> SoftReceipt:
        held[tx.sender] -= tx.amount_nano + tx.fee_nano
        held[tx.receiver] += tx.amount_nano
        assert (view.index, held[tx.sender] >= 0) == (tx.sender, True)
        return SoftReceipt(l2_tx="0x" + "00" * 32, sequence=0, allocated_index=None)

    merged = asyncio.run(merge(views, fee_nano, send, enough_nano=enough_nano))

    assert sum(held.values()) + merged.fees_nano == sum(balances)
    assert held[1] == balances[0] + merged.moved_nano
    if enough_nano <= spendable_of(views, fee_nano) and max(balances) < 2**64:
        assert held[1] >= enough_nano
