"""One villain's whole story: what it does, what stops it, and where its bond goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chain.codec import decode_batch
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.frames import fraud_proof
from chain.replay import Replayer, rules_of
from chain.state import RollupState
from chain.stf import execute_frame
from chain.views import DisputeStage, DisputeView
from chain.villains import Villain
from chain.villains.sequencer import VillainL1
from chain.watchtower import Watchtower
from chain.watchtower.core import Rest, Wait
from chain.witness import build_witness, encode_messages, named_messages
from tests.villains.arena import (
    ALICE,
    ALICE_NUMBER,
    ETHER,
    NANO,
    OPERATOR,
    PARAMS,
    PROVER,
    Arena,
    Stopwatch,
    arena,
    deposit,
    transfer,
)

MAX_SETUP_BATCHES = 6


@dataclass(frozen=True)
class Outcome:
    """What became of a villain."""

    villain: str
    stopped_by: str
    is_detected: bool = False
    is_proven: bool = False
    is_reverted: bool = False
    is_slashed: bool = False
    blocks: int | None = None
    """From the bad batch's L1 block to the one that took it back."""
    compute_s: float | None = None
    """What the watchtower spent, the L1's own execution included."""
    commit_gas: int | None = None
    prove_gas: int | None = None
    dispute: DisputeView | None = None


async def fight(template: Path, folder: Path, villain: Villain) -> Outcome:
    """Let a villain loose, and see it stopped; whatever doesn't hold raises an ``AssertionError``."""
    async with arena(template, folder, villain) as where:
        assert isinstance(where.operator, VillainL1)
        await where.operator.prepare()
        if villain.stopped_by == "proof":
            return await _proven(where, villain)
        return await _outlasted(where, villain)


async def _proven(where: Arena, villain: Villain) -> Outcome:
    assert isinstance(where.operator, VillainL1)
    for number in range(MAX_SETUP_BATCHES):
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1_000 + number))
        if where.operator.lied_at is not None:
            break
    lied_at = where.operator.lied_at
    assert lied_at is not None
    prover_wei, held_wei = await where.ether(PROVER), await where.held_wei()
    bond_wei = (await where.operator.bond(OPERATOR)).amount_wei
    bad_block = (await where.prover.batches(lied_at, 1))[0].l1_block
    tower, watch = where.tower(), Stopwatch()
    with watch:
        waiting = await tower.settle()
    assert isinstance(waiting, Wait)
    # It goes on as if nothing had happened, and builds on its lie.
    await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 7_000))
    await where.mine(waiting.until_block - await where.prover.block_number())
    with watch:
        assert isinstance(await tower.settle(), Rest)
    dispute = tower.view().disputes[-1]
    assert dispute.stage is DisputeStage.REVERTED
    assert (dispute.batch_id, dispute.code) == (lied_at, villain.code)
    assert await where.prover.batch_count() == lied_at
    assert bond_wei >= ETHER
    assert (await where.operator.bond(OPERATOR)).amount_wei == 0
    assert dispute.reward_wei == bond_wei // 2
    assert await where.held_wei() == held_wei
    costs_wei = sum([await where.gas_cost_wei(tx) for tx in _own_txs(where)])
    assert await where.ether(PROVER) == prover_wei - costs_wei
    await _goes_on(where, lied_at)
    assert isinstance(await tower.settle(), Rest)
    assert tower.view().verified_batches == lied_at + 1
    held_wei = await where.held_wei()
    await _is_paid(where, tower, prover_wei - costs_wei, bond_wei // 2)
    assert await where.held_wei() == held_wei - bond_wei // 2
    assert dispute.reverted_block is not None
    return Outcome(
        villain=villain.name,
        stopped_by=f"code {dispute.code}, {dispute.rule}",
        is_detected=True,
        is_proven=True,
        is_reverted=True,
        is_slashed=True,
        blocks=dispute.reverted_block - bad_block,
        compute_s=watch.seconds,
        commit_gas=dispute.commit_gas,
        prove_gas=dispute.prove_gas,
        dispute=dispute,
    )


async def _is_paid(where: Arena, tower: Watchtower, before_wei: int, reward_wei: int) -> None:
    """The reward leaves its escrow once every batch before the wrong one is final, and not before."""
    assert "rewarded" not in where.kinds()
    await where.pass_time(PARAMS.challenge_window_s)
    await where.second.finalize()
    assert isinstance(await tower.settle(), Rest)
    assert where.kinds().count("rewarded") == 1
    newest = await where.prover.connection.web3.eth.get_block("latest")
    costs_wei = await where.gas_cost_wei(newest["transactions"][0])
    assert await where.ether(PROVER) == before_wei + reward_wei - costs_wei


def _own_txs(where: Arena) -> list[str]:
    stages = {DisputeStage.COMMITTED, DisputeStage.REVERTED}
    return [event.dispute.l1_tx for event in where.events if event.dispute and event.kind in stages]


async def _goes_on(where: Arena, lied_at: int) -> None:
    """Nobody leads after a fraud: the villain is out of bonds, and anyone who has one goes on with what was honest."""
    try:
        await where.sequencer.l1.submit_batch(lied_at, bytes(32), bytes(32), b"")
    except ChainRejectedError as error:
        assert error.code == "wrong_previous_root"  # noqa: PT017 - a function, not a test
    honest = await where.takeover()
    posted = await honest.post(transfer(honest.state, where.deployment, 4_242))
    assert posted.batch_id == lied_at
    assert await where.prover.leader() == posted.submitter


async def _outlasted(where: Arena, villain: Villain) -> Outcome:
    """What no proof is about: the contract refuses it, and when somebody waits for too long another one sequences."""
    tower = where.tower()
    await deposit(where.prover, ALICE, 3 * NANO, ALICE_NUMBER)
    refused = await _refusal(where)
    if villain.name == "skip-forced":
        assert not refused  # nobody has waited for long
        await where.pass_time(PARAMS.force_delay_s + 1)
        refused = await _refusal(where)
    assert refused == (villain.refusal or "chain_unreachable")
    await tower.settle()
    await where.pass_time(PARAMS.takeover_delay_s + 1)
    await tower.settle()
    assert where.kinds().count("overdue") == 1
    verified = tower.view().verified_batches
    honest = await where.takeover()
    posted = await honest.post(transfer(honest.state, where.deployment, 9_000))
    assert await where.prover.leader() == posted.submitter != OPERATOR
    assert await where.prover.oldest_pending() is None
    await tower.settle()
    assert tower.view().verified_batches == verified + 1
    assert (await where.operator.bond(OPERATOR)).amount_wei == ETHER
    waited = f"another sequencer after {PARAMS.takeover_delay_s} s"
    return Outcome(
        villain=villain.name,
        stopped_by=f"refused ({refused}), {waited}" if villain.refusal else waited,
        is_detected=True,
    )


async def _refusal(where: Arena) -> str:
    """Why the villain's next batch is not taken; empty if it is."""
    try:
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
    except (ChainRejectedError, ChainUnavailableError) as error:
        return error.code
    return ""


async def honest_run(template: Path, folder: Path, batches: int = 3) -> Outcome:
    """The same without a villain: the watchtower finds nothing, and no frame of any batch can be proven wrong."""
    async with arena(template, folder) as where:
        for number in range(batches):
            await deposit(where.prover, ALICE, NANO, ALICE_NUMBER)
            await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1_000 + number))
        tower, watch = where.tower(), Stopwatch()
        with watch:
            assert isinstance(await tower.settle(), Rest)
        count = await where.prover.batch_count()
        assert tower.view().verified_batches == count
        assert tower.view().state_root == "0x" + where.sequencer.state.root().hex()
        assert set(where.kinds()) == {"verified"}
        tried = await _try_every_frame(where, count)
        assert await where.prover.batch_count() == count
        assert (await where.operator.bond(OPERATOR)).amount_wei == ETHER
        await tower.settle()
        assert where.kinds().count("reverted") == 0
        return Outcome(
            villain="(none)", stopped_by=f"nothing: all {tried} frames hold against proofs", compute_s=watch.seconds
        )


async def _try_every_frame(where: Arena, count: int) -> int:
    """A prover with the right witness for each honest frame; returns how many it tried in vain."""
    l1, rules = where.prover, rules_of(where.deployment)
    messages = {message.index: message for message in await l1.inbox_messages(0, 500)}
    replayer, proofs = Replayer(rules), []
    replayer.add_messages(list(messages.values()))
    for posted in await l1.batches(0, count):
        batch, state = decode_batch(posted.blob), RollupState.from_leaves(replayer.state.items())
        for number, frame in enumerate(batch.frames):
            witness = build_witness(state, batch.header, frame, rules, messages.__getitem__).encode()
            packed = encode_messages(named_messages(frame.body, messages))
            proofs.append(fraud_proof(posted.batch_id, batch, number, messages=packed, witness=witness, salt=bytes(32)))
            execute_frame(state, batch.header, frame, rules, messages.__getitem__, is_last=False)
        replayer.advance(posted)
    for proof in proofs:
        await l1.commit_fraud(proof.commitment(PROVER))
    await where.mine(PARAMS.reveal_delay_blocks)
    for proof in proofs:
        try:
            await l1.prove_fraud(proof)
        except ChainRejectedError as error:
            assert error.code == "not_fraud"  # noqa: PT017 - a function, not a test
        else:
            raise AssertionError(f"an honest frame was disproved: {proof.batch_id}/{proof.frame_index}")
    return len(proofs)
