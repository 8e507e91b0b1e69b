"""A bystander who sees a fraud proof in the mempool sends it first, with more gas."""

from __future__ import annotations

from pathlib import Path

from chain.errors import ChainRejectedError
from chain.l1.protocol import FraudProof, FraudProven
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.villains import VILLAINS
from chain.villains.sequencer import VillainL1
from chain.watchtower.core import Wait
from tests.villains.arena import ETHER, OPERATOR, PROVER, PROVER_KEY, SECOND, Arena, arena, transfer
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="copied-proof",
    who="a bystander",
    does="copies a fraud proof out of the mempool and is mined first",
    before="nothing: proofs were committed to before they were shown",
)


class _Overheard(JsonRpcRollupL1):
    """A prover's connection whose proofs a thief sends first."""

    thief: JsonRpcRollupL1
    refusals: list[str]

    async def prove_fraud(self, proof: FraudProof) -> FraudProven:
        try:
            await self.thief.prove_fraud(proof)
        except ChainRejectedError as error:
            self.refusals.append(error.code)
        return await super().prove_fraud(proof)


async def fight(template: Path, folder: Path) -> Result:
    """See the thief refused and the prover paid."""
    async with arena(template, folder, VILLAINS["mint"]) as where:
        assert isinstance(where.operator, VillainL1)
        await where.operator.prepare()
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        overheard = _Overheard(where.server.url, where.deployment, PROVER_KEY)
        overheard.thief, overheard.refusals = where.second, []
        await where.prover.aclose()
        where.prover = overheard
        try:
            return await _race(where, overheard)
        finally:
            await overheard.aclose()


async def _race(where: Arena, overheard: _Overheard) -> Result:
    before_wei = await where.ether(SECOND)
    tower = where.tower()
    waiting = await tower.settle()
    assert isinstance(waiting, Wait)
    await where.mine(waiting.until_block - await overheard.block_number())
    await tower.settle()
    assert overheard.refusals == ["not_committed"]
    assert (await overheard.bond(OPERATOR)).amount_wei == 0
    assert tower.view().disputes[-1].reward_wei == ETHER // 2
    reward = await overheard.reward(OPERATOR, 0)
    assert reward is not None
    assert reward.prover == PROVER
    assert await where.ether(SECOND) == before_wei, "refused before it was sent"
    return Result(stopped_by="refused (not_committed)", cost="the gas of what is refused", gained="nothing")
