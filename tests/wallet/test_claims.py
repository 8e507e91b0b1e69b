"""What no operator pays out, its owner claims on L1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.views import Inclusion
from tests.patience import PATIENCE_S
from tests.wallet.world import QUICK, WINDOW_S, World
from wallet.claims import claim_all
from wallet.steps import StepState
from wallet.wallet_error import WalletError

USD = 10**9


@pytest.fixture
async def unpaid(tmp_path: Path) -> AsyncIterator[World]:
    """A rollup whose operator claims nothing for anybody."""
    async with World(tmp_path, config=replace(QUICK, operate=False)) as running:
        await running.funded(0, 5 * USD)
        yield running


async def test_a_withdrawal_waits_for_its_window_and_is_claimed_once_by_its_owner(unpaid: World) -> None:
    alice, client = unpaid.people[0], unpaid.client
    l1 = await unpaid.rollup_for(alice)
    with pytest.raises(WalletError) as caught:
        _ = [step async for step in claim_all(l1, client, alice.address)]
    assert caught.value.code == "nothing_to_claim"

    receipt = await unpaid.wallet(0).withdraw(2 * USD)
    await client.flush()
    assert [step.state async for step in claim_all(l1, client, alice.address)] == [StepState.WAITING]
    [view] = await client.withdrawals_of(alice.address)
    assert not view.is_paid_by_operator

    await unpaid.later(WINDOW_S + 1)
    await unpaid.operator.finalize()
    await client.wait_for(receipt.l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)
    [step] = [step async for step in claim_all(l1, client, alice.address)]
    assert (step.state, step.amount_nano) == (StepState.DONE, 2 * USD)
    assert await unpaid.l1_nano(alice.address) == 2 * USD

    [again] = [step async for step in claim_all(l1, client, alice.address)]
    assert (again.state, again.amount_nano) == (StepState.DONE, None)
    assert await unpaid.l1_nano(alice.address) == 2 * USD
