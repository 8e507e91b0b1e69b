"""A bystander shows on one chain what was signed on another: a transfer, and two honest receipts as evidence."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from chain.eip712 import SigningDomain
from chain.signing import keccak256, sign_digest
from chain.state import RollupState
from chain.stf import Code, Rules, apply
from chain.txs import ReceiptEvidence, Slash, Stake, Transfer
from tests.villains.arena import ALICE, ALICE_KEY, ALICE_NUMBER, BOB, BOB_KEY, BOB_NUMBER, arena, signed
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="replay-domain",
    who="a bystander",
    does="shows on one chain what was signed on another",
    before="a transfer was executed on both; two honest receipts took an honest provider's stake",
)


async def fight(template: Path, folder: Path) -> Result:
    """See both refused here, and both hold where they were signed."""
    async with arena(template, folder) as where:
        here = where.deployment.domain
        others = (
            SigningDomain(here.l1_chain_id + 1, here.rollup_address, here.salt),
            SigningDomain(here.l1_chain_id, here.rollup_address, keccak256(b"a fork's block")),
        )
        state = where.sequencer.state
        rules = Rules(here, where.deployment.close_delay_s, where.deployment.unstake_delay_s)
        staking = signed(state, where.deployment, Stake(ALICE_NUMBER, 1_000, 0))
        assert apply(state, staking, rules).code is Code.OK
        account = state.account(ALICE_NUMBER)
        assert account is not None
        for other in others:
            transfer = Transfer(ALICE_NUMBER, BOB_NUMBER, 5, 0)
            there = transfer.encode(sign_digest(ALICE_KEY, transfer.digest(other, account.nonce, BOB)))
            assert apply(state, there, rules).code is Code.BAD_SIGNATURE
            assert apply(state, _slash(state, here, other), rules).code is Code.BAD_SLASH_EVIDENCE
        assert apply(state, _slash(state, here, here), rules).code is Code.OK, "a liar on one chain loses its stake"
    return Result(stopped_by="refused (codes 5 and 14)", cost="nothing", gained="nothing")


def _slash(state: RollupState, here: SigningDomain, there: SigningDomain) -> bytes:
    """Two receipts of Alice's about one number, each for its chain, reported by Bob here."""
    channel = state.meta.next_channel
    contents = [ReceiptEvidence(keccak256(text), bytes(64)) for text in (b"said here", b"said there")]
    tx = Slash(ALICE_NUMBER, BOB_NUMBER, channel, 0, *contents)
    first, second = (
        replace(one, signature=sign_digest(ALICE_KEY, domain.digest(tx.receipt_hash(one, ALICE))))
        for one, domain in zip(contents, (here, there), strict=True)
    )
    tx = replace(tx, first=first, second=second)
    return tx.encode(sign_digest(BOB_KEY, tx.digest(here, ALICE)))
