"""The board beside the RPC under people who fill it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.attestations import attestation_digest
from chain.errors import ChainRejectedError
from chain.orders import SignedOrder
from chain.replay import rules_of
from chain.rpc.board import Attested, BoardLimits, Offers
from tests.wallet.liquidity.test_market import DAY_S, offered, vouched
from tests.wallet.network import fresh_account
from tests.wallet.world import World

USD = 10**9


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The first person has five dollars on L2."""
    async with World(tmp_path) as running:
        await running.funded(0, 5 * USD)
        yield running


@pytest.mark.parametrize("limits", [BoardLimits(max_offers=1), BoardLimits(max_offers_of_one=1)])
async def test_a_full_board_gives_the_place_of_the_smallest_withdrawal_to_a_greater_one(
    world: World, limits: BoardLimits
) -> None:
    small: SignedOrder = await offered(world, USD, deadline_s=await world.operator.time_s() + DAY_S)
    great: SignedOrder = await offered(world, 2 * USD, deadline_s=await world.operator.time_s() + DAY_S)
    board = Offers(world.sequencer, limits)
    await board.put(small)
    await board.put(great)
    assert [view.amount_nano for view in board.views()] == [2 * USD]
    with pytest.raises(ChainRejectedError) as refused:
        await board.put(small)
    assert refused.value.code == "board_full"
    await board.put(great)


async def test_a_stranger_who_makes_up_signatures_silences_no_watchtower(world: World) -> None:
    await vouched(world)
    newest = await world.operator.batch_count() - 1
    (word,) = [view for view in await world.client.attestations(newest) if view.batch_id == newest]
    board = Attested(world.sequencer, BoardLimits(max_lookups_per_minute=16))
    digest = attestation_digest(rules_of(world.deployment).domain, newest, await world.operator.batch_hash(newest))
    codes = []
    for _ in range(4):
        with pytest.raises(ChainRejectedError) as refused:
            await board.put(newest, fresh_account().sign_digest(digest), "198.51.100.7")
        codes.append(refused.value.code)
    assert codes == ["no_attester"] * 2 + ["rate_limited"] * 2
    await board.put(newest, bytes.fromhex(word.signature[2:]), "203.0.113.5")
    assert [view.attester for view in board.views(newest)] == [word.attester]
