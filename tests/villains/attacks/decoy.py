"""A theft, and behind it another wrong batch that a friend proves first, so that the theft stands on no bond."""

from __future__ import annotations

from pathlib import Path

from chain.signing import keccak256
from chain.watchtower.core import Wait
from tests.villains.arena import ETHER, OPERATOR, PARAMS, PROVER, SECOND, arena
from tests.villains.attack import Attack, Result
from tests.villains.lies import plan_lie, refused_as

ATTACK = Attack(
    name="decoy",
    who="a sequencer",
    does="posts a second wrong batch behind its theft, and has a friend prove that one first",
    before="half of the bond for the friend, and nothing for whoever proved the theft",
)


async def fight(template: Path, folder: Path) -> Result:
    """See the friend's reward go to whoever proves the theft."""
    async with arena(template, folder) as where:
        friend, held_wei = where.second, await where.held_wei()
        theft = await plan_lie(where, where.sequencer.state, keccak256(b"theft"))
        await theft.post(where.operator)
        decoy = await plan_lie(where, where.sequencer.state, keccak256(b"decoy"))
        await decoy.post(where.operator)
        await friend.commit_fraud(decoy.proof.commitment(SECOND))
        await where.mine(PARAMS.reveal_delay_blocks)
        await friend.prove_fraud(decoy.proof)
        assert await refused_as(friend.claim_reward(OPERATOR, 0)) == "reward_not_final"
        assert (await where.operator.bond(OPERATOR)).amount_wei == 0

        tower = where.tower()
        waiting = await tower.settle()
        assert isinstance(waiting, Wait)
        await where.mine(waiting.until_block - await where.prover.block_number())
        await tower.settle()

        reward = await where.prover.reward(OPERATOR, 0)
        assert reward is not None
        assert (reward.prover, reward.amount_wei) == (PROVER, ETHER // 2)
        assert await where.prover.batch_count() == theft.proof.batch_id
        await where.pass_time(PARAMS.challenge_window_s)
        await where.prover.finalize()
        await tower.settle()
        assert where.kinds().count("rewarded") == 1
        assert await refused_as(friend.claim_reward(OPERATOR, 0)) == "no_reward"
        assert held_wei - await where.held_wei() == ETHER // 2
    return Result(
        stopped_by="the theft is proven too, and its prover has the reward",
        cost="the whole bond, and the gas of two batches and a proof",
        gained="nothing",
    )
