"""What the RPC tells of bonds, waiting messages, disputes and the freeze, on real contracts and on an L1 that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.errors import ChainUnavailableError
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.rpc.safety import SafetyQueries
from chain.signing import checksum_address
from chain.stf import Code
from chain.views import DisputeStage
from chain.watchtower.safety import SafetyReader
from tests.chain.counting import counting
from tests.chain.l1.conftest import ETHER, OPERATOR
from tests.chain.support import forced, owner
from tests.wallet.world import FORCE_S, FREEZE_S, TAKEOVER_S, World

USD = 10**9


async def test_bonds_and_finality_are_told_while_all_is_well(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.funded(0, USD)

        view = await world.client.safety()

        (one,) = view.sequencers
        assert (one.address, one.bond_wei, one.is_leader) == (checksum_address(OPERATOR), ETHER, True)
        assert (view.batch_count, view.final_count) == (await world.operator.batch_count(), 0)
        assert (view.waiting, view.waiting_count, view.disputes, view.announced) == ((), 0, (), 0)
        assert (view.frozen_at_s, view.is_overdue) == (None, False)
        assert await world.client.disputes() == await world.client.waiting() == []


async def test_proven_frauds_come_newest_first_and_in_pages_and_messages_wait_with_their_deadlines(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.funded(0, USD)
        await world.stop_sequencer()
        batches = []
        for number in range(3):
            proof = await world.lie(bytes([number]) * 32)
            batches.append(proof.batch_id)
            await world.prove(proof)
            await world.operator.deposit_bond(ETHER)
        # Nobody builds on this one, so that nobody executes what is forced now.
        proof = await world.lie(b"\x09" * 32)
        await world.operator.commit_fraud(proof.commitment(OPERATOR))
        for number in range(22):
            await world.operator.force_tx(bytes([1, number]))
        await world.start_sequencer()
        client = world.client

        disputes = await client.disputes()
        assert [one.batch_id for one in disputes] == batches[::-1]
        newest = disputes[0]
        assert (newest.stage, newest.code, newest.reward_wei) == (DisputeStage.REVERTED, Code.WRONG_ROOT, ETHER // 2)
        assert newest.submitter == newest.prover == checksum_address(OPERATOR)
        assert newest.reverted_block is not None
        assert await client.disputes(limit=1, skip=1) == [disputes[1]]
        assert await client.disputes(limit=2, skip=2) == [disputes[2]]
        assert await client.disputes(skip=2**30 - 1) == []

        view = await client.safety()
        assert list(view.disputes) == disputes[::-1]
        assert (view.announced, view.waiting_count, len(view.waiting)) == (1, 22, 20)
        first = view.waiting[0]
        assert first.kind == "forced"
        assert [first.deadline_s - first.at_s, first.takeover_at_s - first.at_s, first.freeze_at_s - first.at_s] == [
            FORCE_S,
            TAKEOVER_S,
            FREEZE_S,
        ]
        rest = await client.waiting(start=first.index + 20, limit=10)
        assert [one.index for one in rest] == [first.index + number for number in range(20, 22)]
        assert await client.waiting(limit=20) == list(view.waiting)

        await world.later(FREEZE_S + 2)
        assert (await client.safety()).is_overdue
        await world.operator.freeze()
        assert (await client.safety()).frozen_at_s is not None


async def test_however_many_ask_l1_is_asked_once_a_second(l1) -> None:
    now_s = 0.0
    queries = SafetyQueries(l1, clock=lambda: now_s)
    first = await queries.view()
    l1.messages.append(forced(0, b"\x01"))
    now_s = 0.99
    assert await queries.view() == first
    now_s = 1.0
    assert (await queries.view()).l1_block == first.l1_block + 1


async def test_an_l1_that_fails_is_a_coded_error_and_nothing_is_lost(client, l1) -> None:
    before = await client.safety()
    assert before.sequencers[0].address == checksum_address(owner(0))
    l1.is_down = True
    for asking in (client.safety, client.disputes, client.waiting):
        with pytest.raises(ChainUnavailableError) as failed:
            await asking()
        assert failed.value.code == "chain_unreachable"
    l1.is_down = False
    assert await client.safety() == before


async def test_a_reading_without_a_new_block_costs_one_question(tmp_path: Path) -> None:
    async with World(tmp_path) as world, counting(world.l1.url) as counted:
        await world.stop_sequencer()
        l1 = JsonRpcRollupL1(counted.url, world.deployment)
        try:
            reader = SafetyReader(l1)
            first = await reader.look()
            counted.taken()
            assert await reader.look() is first
            assert counted.taken() == {"eth_getBlockByNumber": 1}
            await world.operator.force_tx(b"\x01")
            assert (await reader.look()).waiting_count == 1
        finally:
            await l1.aclose()
