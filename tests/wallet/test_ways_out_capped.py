"""A wallet finds its way out through an RPC that gives little: few blocks, few logs, or no logs at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.types import Withdrawal, withdrawal_key
from tests.chain.l1.capped import Caps, capped
from tests.wallet.world import FREEZE_S, WINDOW_S, World
from wallet.exits import leave
from wallet.forced_withdrawal import force_withdraw
from wallet.l1 import open_rollup
from wallet.rollup_follower import RollupFollower, claimed
from wallet.steps import StepState

USD = 10**9
POLL_S = 0.02


@pytest.mark.parametrize("caps", [Caps(max_blocks=3, max_logs=1), Caps(refuses_logs=True)])
async def test_money_is_forced_out_and_the_rest_leaves_a_frozen_rollup(tmp_path: Path, caps: Caps) -> None:
    async with World(tmp_path) as world, capped(world.l1.url, caps) as url:
        await world.funded(0, 5 * USD)
        alice = world.people[0]
        l1 = await open_rollup(url, world.deployment.rollup_address, alice)
        try:
            async for step in force_withdraw(l1, alice, 2 * USD, poll_s=POLL_S):
                if step.key == "final" and step.state is StepState.WAITING:
                    await world.later(WINDOW_S + 1)
            assert await world.l1_nano(alice.address) == 2 * USD
            await world.stop_sequencer()
            await world.operator.force_tx(b"ignored")
            await world.later(FREEZE_S + WINDOW_S + 2)

            steps = [step async for step in leave(l1, alice.address, {}, freeze=True, poll_s=POLL_S)]
        finally:
            await l1.aclose()

        assert steps
        assert await world.l1_nano(alice.address) == 5 * USD
        assert caps.refused > 0


async def test_what_another_claimed_is_paid_though_no_log_says_by_which_transaction(
    tmp_path: Path,
) -> None:
    """The operator's claim came a moment earlier: the person's own reverted, and ended in an error about logs."""
    caps = Caps(refuses_logs=True)
    async with World(tmp_path) as world, capped(world.l1.url, caps) as url:
        await world.funded(0, 5 * USD)
        alice = world.people[0]
        l1 = await open_rollup(url, world.deployment.rollup_address, alice)
        try:
            async for step in force_withdraw(l1, alice, 2 * USD, poll_s=POLL_S):
                if step.key == "final" and step.state is StepState.WAITING:
                    await world.later(WINDOW_S + 1)
            state, key = await RollupFollower(l1).catch_up(), withdrawal_key(1)
            leaf = state.leaf(key)
            assert isinstance(leaf, Withdrawal)

            again = await claimed(l1, await l1.final_count() - 1, key, leaf, state.proof(key))
        finally:
            await l1.aclose()

        assert again == b""
        assert await world.l1_nano(alice.address) == 2 * USD
