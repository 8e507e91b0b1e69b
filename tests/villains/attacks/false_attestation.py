"""A sequencer's friends vouch, with a bond, for a batch that they know to be wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from chain.attestations import Attestation, attestation_digest
from chain.errors import ChainRejectedError
from chain.signing import sign_digest
from chain.villains import VILLAINS
from chain.villains.sequencer import VillainL1
from chain.watchtower.core import Wait
from tests.villains.arena import ETHER, PROVER, SECOND, SECOND_KEY, arena, transfer
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="false-attestation",
    who="a watchtower",
    does="vouches for a wrong batch so that buyers pay its withdrawals out, and asks for its bond back at once",
    before="nothing: nobody could vouch",
)
BOND_WEI = 10 * ETHER


async def fight(template: Path, folder: Path) -> Result:
    """See the bond halved between who proved the batch wrong and nobody, whoever reports."""
    async with arena(template, folder, VILLAINS["mint"]) as where:
        assert isinstance(where.operator, VillainL1)
        await where.operator.prepare()
        liar = where.second
        await liar.deposit_attester_bond(BOND_WEI)
        posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        name = await liar.batch_hash(posted.batch_id)
        digest = attestation_digest(where.deployment.domain, posted.batch_id, name)
        word = Attestation(batch_id=posted.batch_id, batch_hash=name, signature=sign_digest(SECOND_KEY, digest))
        await liar.start_bond_withdrawal()
        assert await _refusal(where.operator.slash_attester, word) == "not_proven_wrong"

        tower = where.tower()
        waiting = await tower.settle()
        assert isinstance(waiting, Wait)
        await where.mine(waiting.until_block - await where.prover.block_number())
        await tower.settle()
        assert await liar.is_proven_wrong(name)

        before_wei = await where.ether(PROVER)
        await where.operator.slash_attester(word)
        assert await where.ether(PROVER) == before_wei + BOND_WEI // 2, "the prover is paid, not who reports"
        assert (await liar.attester_bond(SECOND)).amount_wei == 0
        assert await _refusal(where.operator.slash_attester, word) == "no_attestation"
        await where.pass_time(2 * where.deployment.challenge_window_s)
        assert await _refusal(liar.withdraw_attester_bond) == "no_bond"
    return Result(
        stopped_by="slashed by its own signature", cost=f"{BOND_WEI // ETHER} ether: its whole bond", gained="nothing"
    )


async def _refusal(call: Callable[..., Awaitable[bytes]], *arguments: Attestation) -> str:
    try:
        await call(*arguments)
    except ChainRejectedError as error:
        return error.code
    return ""
