"""A bystander floods L1 with announcements of frauds, so that whoever reads the contract's logs drowns in them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import sign_digest
from chain.villains import VILLAINS
from chain.watchtower import Prover, Watchtower
from chain.watchtower.core import Rest, Wait
from tests.chain.l1.capped import Caps, capped
from tests.chain.l1.spam import commit_fraud_head, send_repeated
from tests.villains.arena import OPERATOR, PROVER, PROVER_KEY, Arena, arena, transfer
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="spam",
    who="a bystander, for a sequencer that lies",
    does="announces thousands of frauds, beside a wrong batch",
    before="every watchtower that started then stopped at a too long answer: the wrong batch became final",
)
ANNOUNCED = 1_000


async def fight(template: Path, folder: Path) -> Result:
    """See the batch disproven through a provider that gives a fiftieth of the flood."""
    async with arena(template, folder, VILLAINS["mint"]) as where:
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        assert where.second.signer is not None
        rollup = where.deployment.rollup_address
        receipts = await send_repeated(where.second.signer, rollup, commit_fraud_head(), ANNOUNCED)
        spent_gas = sum(receipt["gasUsed"] for receipt in receipts)
        async with capped(where.server.url, Caps(max_blocks=1_000, max_logs=ANNOUNCED // 50)) as url:
            await _disprove(where, url)
    return Result(
        stopped_by="batches come first, events by topic, in pages that halve",
        cost=f"{spent_gas // ANNOUNCED:,} gas an announcement",
        gained="nothing",
    )


async def _disprove(where: Arena, url: str) -> None:
    l1 = JsonRpcRollupL1(url, where.deployment, PROVER_KEY)
    try:
        tower = Watchtower(l1, prover=Prover(PROVER, partial(sign_digest, PROVER_KEY)), on_event=where.events.append)
        waiting = await tower.settle()
        assert isinstance(waiting, Wait)
        await where.mine(waiting.until_block - await l1.block_number())
        assert await tower.settle() == Rest()
        assert await l1.batch_count() == 3
        assert (await l1.bond(OPERATOR)).amount_wei == 0
        assert "trouble" not in where.kinds()
    finally:
        await l1.aclose()
