"""A sequencer posts a theft in calldata that Solidity takes and that a strict decoder refuses to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chain.l1.calldata import read_submission
from chain.villains import VILLAINS
from chain.villains.sequencer import VillainL1
from chain.watchtower.core import Rest, Wait
from tests.villains.arena import ETHER, OPERATOR, OPERATOR_KEY, Arena, arena, transfer
from tests.villains.attack import Attack, Result
from tests.villains.raw import calldata_of, mined, signed_call

ATTACK = Attack(
    name="calldata",
    who="a sequencer",
    does="posts a theft in calldata that the contract takes and nobody can read",
    before="everything: the theft became final, since every watchtower stopped at it",
)
OFFSET_AT = 4 + 3 * 32
STRANGE: dict[str, Callable[[bytes], bytes]] = {
    "dirty padding": lambda data: data[:-1] + b"\1",
    "no padding": lambda data: data.rstrip(b"\0"),
    "trailing bytes": lambda data: data + b"\0" * 32,
    "another offset": lambda data: data[:OFFSET_AT] + (4 * 32 + 1).to_bytes(32, "big") + b"\0" + data[OFFSET_AT + 32 :],
}
"""The ways of Solidity to say the same, each of which the contract took."""


async def fight(template: Path, folder: Path) -> Result:
    """See each of them reverted, and the same theft in the one right form disproven."""
    theft = await _forged(template, folder / "rehearsal")
    async with arena(template, folder / "fight") as where:
        standing, gas = await where.prover.batch_count(), 0
        for change in STRANGE.values():
            strange = change(theft)
            assert read_submission(strange) == read_submission(theft), "another call than meant"
            receipt = await mined(where, await signed_call(where, OPERATOR_KEY, strange))
            assert receipt["status"] == 0
            gas += receipt["gasUsed"]
        assert await where.prover.batch_count() == standing
        receipt = await mined(where, await signed_call(where, OPERATOR_KEY, theft))
        assert receipt["status"] == 1
        await _disprove(where, standing)
    return Result(
        stopped_by="refused (not_canonical); in the one form that is taken, disproven",
        cost=f"{gas // len(STRANGE):,} gas a try, and its bond for the one that is taken",
        gained="nothing",
    )


async def _forged(template: Path, folder: Path) -> bytes:
    """The calldata of a theft that the contract takes."""
    async with arena(template, folder, VILLAINS["mint"]) as where:
        assert isinstance(where.operator, VillainL1)
        await where.operator.prepare()
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        count = await where.prover.batch_count()
        data = calldata_of((await where.prover.batches(count - 1, 1))[0])
    assert not data.endswith(b"\1")
    return data


async def _disprove(where: Arena, standing: int) -> None:
    tower = where.tower()
    waiting = await tower.settle()
    assert isinstance(waiting, Wait)
    await where.mine(waiting.until_block - await where.prover.block_number())
    assert await tower.settle() == Rest()
    assert await where.prover.batch_count() == standing
    assert (await where.operator.bond(OPERATOR)).amount_wei < ETHER
