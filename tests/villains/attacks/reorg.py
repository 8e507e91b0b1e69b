"""A depositor has L1 reorganized by a block, so that an honest batch is mined again on another message."""

from __future__ import annotations

from pathlib import Path

from chain.watchtower.core import Rest
from tests.villains.arena import ALICE, ALICE_NUMBER, BOB, BOB_NUMBER, NANO, OPERATOR, OPERATOR_KEY, arena, deposit
from tests.villains.attack import Attack, Result
from tests.villains.raw import calldata_of, mined, signed_call

ATTACK = Attack(
    name="reorg",
    who="a depositor, with one block taken back",
    does="swaps the deposit that an honest batch executed, and has the batch mined again",
    before="the honest sequencer's bond, by default: the batch had another meaning",
)


async def fight(template: Path, folder: Path) -> Result:
    """See the batch revert after the swap, and the sequencer go on with its whole bond."""
    async with arena(template, folder / "before") as where:
        await deposit(where.second, ALICE, 3 * NANO, ALICE_NUMBER)
        honest = await where.sequencer.post()
        assert honest.inbox_hash == await where.prover.inbox_hash(await where.prover.inbox_length())
    # Another folder of the same beginning: what comes of the chain once its newest blocks were taken back.
    async with arena(template, folder / "after") as where:
        bond = (await where.prover.bond(OPERATOR)).amount_wei
        again = await signed_call(where, OPERATOR_KEY, calldata_of(honest))
        await deposit(where.second, BOB, 4 * NANO, BOB_NUMBER)
        receipt = await mined(where, again)
        assert receipt["status"] == 0
        assert await where.prover.batch_count() == honest.batch_id
        posted = await where.sequencer.post()
        assert posted.batch_id == honest.batch_id
        assert posted.blob != honest.blob
        tower = where.tower()
        assert await tower.settle() == Rest()
        assert tower.view().verified_batches == honest.batch_id + 1
        assert not tower.view().disputes
        assert (await where.prover.bond(OPERATOR)).amount_wei == bond
    return Result(
        stopped_by="refused (wrong_inbox_hash), and built again on what L1 has",
        cost=f"a block; the sequencer {receipt['gasUsed']:,} gas",
        gained="nothing",
    )
