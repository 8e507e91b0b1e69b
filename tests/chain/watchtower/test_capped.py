"""A watchtower works behind an RPC that gives little, and beside others' logs by the thousand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import sign_digest
from chain.villains import VILLAINS
from chain.watchtower import Prover, Watchtower
from chain.watchtower.core import Rest, Wait
from chain.watchtower.safety import SafetyReader
from tests.chain.l1.capped import Caps, capped
from tests.chain.l1.spam import commit_fraud_head, send_repeated
from tests.villains.arena import PROVER, PROVER_KEY, Arena, arena, transfer


@pytest.fixture
async def lied(template: Path, tmp_path: Path) -> AsyncIterator[Arena]:
    """A rollup whose fourth batch is a lie, beside 400 announcements of frauds by a stranger."""
    async with arena(template, tmp_path / "arena", VILLAINS["bad-signature"]) as opened:
        await opened.sequencer.post(transfer(opened.sequencer.state, opened.deployment))
        assert opened.second.signer is not None
        await send_repeated(opened.second.signer, opened.deployment.rollup_address, commit_fraud_head(), 400)
        yield opened


async def prove(where: Arena, caps: Caps) -> Watchtower:
    """Disprove the lie through a provider with these caps, by a watchtower that just came."""
    async with capped(where.server.url, caps) as url:
        l1 = JsonRpcRollupL1(url, where.deployment, PROVER_KEY)
        try:
            prover = Prover(PROVER, partial(sign_digest, PROVER_KEY))
            tower = Watchtower(l1, prover=prover, on_event=where.events.append)
            waiting = await tower.settle()
            assert isinstance(waiting, Wait)
            await where.mine(waiting.until_block - await l1.block_number())
            assert await tower.settle() == Rest()
        finally:
            await l1.aclose()
    assert await where.prover.batch_count() == 3
    return tower


async def test_a_wrong_batch_is_disproven_beside_more_logs_than_the_provider_gives(lied: Arena) -> None:
    caps = Caps(max_blocks=4, max_logs=20, max_answer_bytes=64 * 1024)

    tower = await prove(lied, caps)

    assert tower.view().disputes[-1].batch_id == 3
    assert lied.kinds()[-2:] == ["proven", "reverted"]
    assert "trouble" not in lied.kinds()


async def test_a_wrong_batch_is_disproven_although_every_log_query_fails(lied: Arena) -> None:
    await prove(lied, Caps(refuses_logs=True))

    assert lied.kinds().count("trouble") == 1
    assert {"proven", "reverted"} <= set(lied.kinds())


async def test_safety_is_told_beside_more_logs_than_the_provider_gives(lied: Arena) -> None:
    await prove(lied, Caps())

    for caps in (Caps(max_blocks=4, max_logs=20), Caps(refuses_logs=True)):
        async with capped(lied.server.url, caps) as url:
            l1 = JsonRpcRollupL1(url, lied.deployment)
            try:
                view = await SafetyReader(l1).look()
            finally:
                await l1.aclose()
        assert view.batch_count == 3
        assert bool(view.disputes) != caps.refuses_logs
