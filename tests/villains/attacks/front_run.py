"""A sequencer knows the proof of its own lie before anybody else, and has a friend prove it first."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from chain.signing import keccak256
from tests.villains.arena import ETHER, OPERATOR, PARAMS, SECOND, arena
from tests.villains.attack import Attack, Result
from tests.villains.lies import plan_lie, refused_as

ATTACK = Attack(
    name="front-run",
    who="a sequencer",
    does="has a friend commit to the proof of its lie before it posts, or win the race after it",
    before="half of the bond back, and the honest prover's gas: lying cost half as much",
)


async def fight(template: Path, folder: Path) -> Result:
    """See the early commitment refused, and what a won race costs."""
    async with arena(template, folder) as where:
        operator, friend = where.operator, where.second
        before_wei = await where.ether(OPERATOR) + await where.ether(SECOND) + 2 * ETHER
        held_wei = await where.held_wei()
        lie = await plan_lie(where, where.sequencer.state, keccak256(b"front-run"))
        await friend.commit_fraud(lie.proof.commitment(SECOND))
        await where.mine(PARAMS.reveal_delay_blocks)
        posted = await lie.post(operator)
        assert await refused_as(friend.prove_fraud(lie.proof)) == "committed_too_early"
        # So the friend must commit when everybody can, and races; let it win.
        proof = replace(lie.proof, salt=keccak256(b"after the batch"))
        await friend.commit_fraud(proof.commitment(SECOND))
        await where.mine(PARAMS.reveal_delay_blocks)
        await friend.prove_fraud(proof)
        assert await where.prover.batch_count() == posted.batch_id
        await where.pass_time(PARAMS.challenge_window_s)
        await friend.finalize()
        await friend.claim_reward(OPERATOR, 0)
        assert held_wei - await where.held_wei() == ETHER // 2
        held_wei = await where.ether(OPERATOR) + await where.ether(SECOND) + ETHER
        assert before_wei - held_wei > ETHER // 2
        return Result(
            stopped_by="refused (committed_too_early); who wins the race after it burns half of the bond",
            cost="half of the bond, burnt, and the gas of batch, commitment and proof",
            gained="nothing: the lie is gone",
        )
