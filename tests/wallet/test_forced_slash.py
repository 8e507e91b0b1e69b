"""A slash that the sequencer refuses goes through L1's inbox, and its reporter gets half to the last unit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.errors import ChainRejectedError
from tests.wallet.censor import CensoredWorld
from tests.wallet.test_stakes import receipt, stakes
from tests.wallet.world import FREEZE_S, TAKEOVER_S, World
from wallet.forced_slash import force_slash
from wallet.receipts import Receipt, sign_receipt
from wallet.service import WalletService
from wallet.steps import StepState, WithdrawalStep
from wallet.wallet_error import WalletError

USD = 10**9
POLL_S = 0.02


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider with an odd number of units at stake, and a reporter, both in a batch on L1."""
    async with CensoredWorld(tmp_path) as running:
        provider = await running.funded(0, 10 * USD)
        await provider.stake(5 * USD + 1)
        await provider.unstake(USD)
        await running.funded(1, USD)
        yield running


async def evidence(provider: WalletService) -> tuple[Receipt, Receipt]:
    domain = await provider.domain()
    receipts = [receipt(provider.account, text) for text in (b"a", b"b")]
    first, second = (sign_receipt(provider.account, domain, one) for one in receipts)
    return first, second


async def read(steps: AsyncIterator[WithdrawalStep]) -> dict[str, WithdrawalStep]:
    return {step.key: step async for step in steps}


async def test_what_the_sequencer_refuses_is_executed_from_the_inbox(world: World) -> None:
    provider, reporter = world.wallet(0), world.wallet(1)
    pair = await evidence(provider)
    with pytest.raises(ChainRejectedError):
        await reporter.slash(*pair)

    l1 = await world.rollup_for(reporter.account)
    steps = await read(force_slash(l1, reporter.account, *pair, poll_s=POLL_S))

    assert all(step.state is StepState.DONE for step in steps.values())
    half_nano = (5 * USD + 1) // 2
    assert steps["executed"].amount_nano == half_nano
    assert await stakes(provider) == (0, 0)
    assert await reporter.balance() == USD + half_nano
    with pytest.raises(WalletError) as refused:
        await read(force_slash(l1, reporter.account, *pair))
    assert refused.value.code == "nothing_to_slash"


async def test_one_that_waits_is_gone_on_with_and_the_next_leader_executes_it(world: World) -> None:
    provider, reporter = world.wallet(0), world.wallet(1)
    pair = await evidence(provider)
    l1 = await world.rollup_for(reporter.account)
    await world.stop_sequencer()

    first = await read(force_slash(l1, reporter.account, *pair, wait=False))
    again = await read(force_slash(l1, reporter.account, *pair, wait=False))
    assert first["send"].l1_tx
    assert "already message" in again["send"].text
    assert "stake" in first["read"].text

    await world.later(TAKEOVER_S + 1)
    world.sequencer_class = World.sequencer_class
    await world.start_sequencer()
    steps = await read(force_slash(l1, reporter.account, *pair, poll_s=POLL_S))
    assert steps["executed"].amount_nano == (5 * USD + 1) // 2
    assert await world.wallet(1).balance() == USD + (5 * USD + 1) // 2


async def test_it_says_when_nobody_executes_it(world: World) -> None:
    provider, reporter = world.wallet(0), world.wallet(1)
    pair = await evidence(provider)
    l1 = await world.rollup_for(reporter.account)
    await world.stop_sequencer()

    async def patiently() -> None:
        async for step in force_slash(l1, reporter.account, *pair, poll_s=POLL_S):
            if step.key == "deadline":
                await world.later(FREEZE_S + 2)

    with pytest.raises(WalletError) as refused:
        await patiently()
    assert refused.value.code == "not_executed"


async def test_what_proves_nothing_costs_no_gas(world: World) -> None:
    provider, reporter = world.wallet(0), world.wallet(1)
    first, _ = await evidence(provider)
    l1 = await world.rollup_for(reporter.account)
    with pytest.raises(WalletError) as refused:
        await read(force_slash(l1, reporter.account, first, first))
    assert refused.value.code == "bad_receipt"
