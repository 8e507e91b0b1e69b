"""A watchtower that has nothing to do asks L1 one question a look, and misses nothing for that."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from chain.errors import ChainRejectedError
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import sign_digest
from chain.views import DisputeStage
from chain.villains import VILLAINS
from chain.watchtower import Prover, Watchtower, WatchtowerConfig
from chain.watchtower.core import CommitProof, Follow, Freeze, Rest, RevealProof, Rewind, Wait
from tests.chain.counting import CountingL1, counting
from tests.villains.arena import (
    ALICE,
    ALICE_NUMBER,
    NANO,
    PARAMS,
    PROVER,
    PROVER_KEY,
    Arena,
    arena,
    deposit,
    open_server,
    transfer,
)

ONE_QUESTION = {"eth_getBlockByNumber": 1}


@asynccontextmanager
async def watching(
    where: Arena, config: WatchtowerConfig | None = None
) -> AsyncIterator[tuple[Watchtower, CountingL1]]:
    """A watchtower whose every question is counted."""
    async with counting(where.server.url) as counted:
        l1 = JsonRpcRollupL1(counted.url, where.deployment, PROVER_KEY)
        try:
            yield Watchtower(l1, prover=Prover(PROVER, partial(sign_digest, PROVER_KEY)), config=config), counted
        finally:
            await l1.aclose()


async def rest(tower: Watchtower) -> None:
    """Until it asks no more than it must."""
    await tower.settle()
    await tower.step()


async def test_a_look_at_an_l1_without_a_new_block_costs_one_question(template: Path, tmp_path: Path) -> None:
    async with arena(template, tmp_path) as where, watching(where) as (tower, counted):
        await rest(tower)
        counted.taken()
        for _ in range(5):
            assert await tower.step() == Rest()
            assert counted.taken() == ONE_QUESTION
        before = tower.view()

        await where.mine()
        assert await tower.step() == Rest()
        assert counted.taken() != ONE_QUESTION
        assert tower.view().l1_block == before.l1_block + 1
        await rest(tower)
        counted.taken()

        # The first look after a batch reads it, as it always did.
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        assert await tower.step() == Follow(3)
        assert tower.view().verified_batches == 4


async def test_a_wait_for_the_reveal_costs_one_question_a_look_and_ends_with_its_block(
    template: Path, tmp_path: Path
) -> None:
    async with (
        arena(template, tmp_path, VILLAINS["bad-signature"]) as where,
        watching(where) as (tower, counted),
    ):
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        assert [type(await tower.step()) for _ in range(2)] == [Follow, CommitProof]
        waiting = await tower.settle()
        assert isinstance(waiting, Wait)
        await tower.step()
        counted.taken()
        assert await tower.step() == waiting
        assert counted.taken() == ONE_QUESTION

        await where.mine(waiting.until_block - await where.prover.block_number())
        assert await tower.step() == RevealProof()
        await tower.settle()
        assert tower.view().disputes[-1].stage is DisputeStage.REVERTED


async def test_a_message_that_waits_keeps_the_clock_in_sight(template: Path, tmp_path: Path) -> None:
    async with (
        arena(template, tmp_path) as where,
        watching(where, WatchtowerConfig(freezes=True)) as (tower, _),
    ):
        await deposit(where.prover, ALICE, NANO, ALICE_NUMBER)
        await rest(tower)
        assert tower.view().pending_since_s is not None

        # No block comes, only time passes.
        where.clock.now_s += PARAMS.freeze_delay_s + 1
        assert await tower.step() == Freeze()
        await tower.settle()
        assert tower.view().frozen_at_s is not None


async def test_a_reorg_to_the_same_height_is_seen_at_the_next_look(template: Path, tmp_path: Path) -> None:
    async with arena(template, tmp_path / "here") as where:
        there = tmp_path / "there"
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1))
        port = int(where.server.url.rsplit(":", 1)[1])
        async with watching(where) as (tower, counted):
            await rest(tower)
            head = await where.prover.head()
            await where.server.aclose()
            there.mkdir()
            for file in template.glob("l1.db*"):
                shutil.copy(file, there / file.name)
            where.server = open_server(there, where.clock)
            await where.server.start("127.0.0.1", port)
            await where.sequencer.sync()
            await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 2))
            other = await where.prover.head()
            assert (other.number, other.hash != head.hash) == (head.number, True)

            counted.taken()
            assert await tower.step() == Rewind()
            await tower.settle()
            assert tower.view().state_root == "0x" + where.sequencer.state.root().hex()
        await where.server.aclose()


async def test_what_l1_refused_for_now_is_tried_again_without_a_new_block(template: Path, tmp_path: Path) -> None:
    async with (
        arena(template, tmp_path, VILLAINS["bad-signature"]) as where,
        watching(where) as (tower, _),
    ):
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        await tower.step()
        refused, commit = [], tower._l1.commit_fraud

        async def late(commitment: bytes) -> bytes:
            if len(refused) < 3:
                refused.append(commitment)
                raise ChainRejectedError("another transaction is on its way", code="nonce")
            return await commit(commitment)

        tower._l1.commit_fraud = late  # type: ignore[method-assign]
        for _ in range(3):
            assert isinstance(await tower.step(), Wait)
        assert await tower.step() == CommitProof()
        assert len(refused) == 3
