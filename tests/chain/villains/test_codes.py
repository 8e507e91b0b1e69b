"""Each code that a first wrong frame can have has a villain, whom the contract finds guilty of just that."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.codec import decode_batch
from chain.frames import fraud_proof
from chain.replay import Replayer, ReplayError, replay_l1, rules_of
from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import Code, execute_body, execute_frame
from chain.types import Account, account_key
from chain.views import DisputeStage
from chain.villains import VILLAINS, Villain
from chain.villains.kinds import LOOT_NANO
from chain.witness import build_witness
from tests.chain.support import RULES
from tests.chain.villains.test_villains import LIARS, found_by_replay, lie, world
from tests.fuzz.prover import Prover, examine, shipped
from tests.fuzz.world import Case
from tests.villains.arena import PARAMS, PROVER, arena, transfer
from tests.villains.fight import MAX_SETUP_BATCHES


@pytest.fixture(scope="module")
def contract() -> Prover:
    return shipped()


def convicted_of(contract: Prover, villain: Villain) -> Code:
    """What a fraud proof of the first wrong frame of the villain's batch comes to on the contract."""
    state, messages = world(villain)
    before = RollupState.from_leaves(state.items())
    blob, root = lie(villain, state, messages)
    wrong = found_by_replay(RollupState.from_leaves(before.items()), root, blob, messages)
    assert wrong.frame is not None
    batch, known = decode_batch(blob), {message.index: message for message in messages}
    for frame in batch.frames[: wrong.frame]:
        code = execute_frame(before, batch.header, frame, RULES, known.__getitem__, is_last=False)
        assert code is Code.OK
    frame = batch.frames[wrong.frame]
    case = Case(
        name=villain.name,
        leaves=tuple(before.items()),
        rules=RULES,
        header=batch.header,
        frame=frame,
        messages=tuple(messages),
        is_last=wrong.frame == len(batch.frames) - 1,
    )
    call, _, _ = examine(case)
    code, after = contract.execute(call)
    return Code.WRONG_ROOT if code is Code.OK and after != frame.post_root else code


def test_each_code_that_a_sequencer_can_commit_to_has_a_villain_whose_proof_carries_exactly_that_code(
    contract: Prover,
) -> None:
    convictions = {villain.name: convicted_of(contract, villain) for villain in LIARS}

    assert convictions == {villain.name: villain.code for villain in LIARS}
    # The invariants of the state transition say why a taken number comes first in no sequencer's batch.
    assert set(convictions.values()) == set(Code) - {Code.OK, Code.BAD_ALLOCATION}


async def test_a_proof_of_the_frame_that_allocates_a_taken_number_carries_code_17(
    template: Path, tmp_path: Path
) -> None:
    async with arena(template, tmp_path, VILLAINS["bad-allocation"]) as where:
        tower = where.tower(proves=False)
        for number in range(MAX_SETUP_BATCHES):
            posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1_000 + number))
        follower = Replayer(rules_of(where.deployment))
        with pytest.raises(ReplayError) as found:
            async for _ in replay_l1(where.prover, replayer=follower):
                pass
        lied_at, first_lie = found.value.batch_id, found.value.frame
        assert first_lie is not None
        assert found.value.tx_code is Code.WRONG_ROOT
        await tower.settle()
        assert tower.view().disputes[-1].code == Code.WRONG_ROOT

        # What only the villain knows at first: the state in which the next number is taken already.
        batch = decode_batch((await where.prover.batches(lied_at, 1))[0].blob)
        state, rules, inbox = follower.state, rules_of(where.deployment), {}.__getitem__
        for frame in batch.frames[:first_lie]:
            execute_frame(state, batch.header, frame, rules, inbox, is_last=False)
        taken = state.meta.next_account + 1
        execute_body(state, batch.header, batch.frames[first_lie].body, rules, inbox, is_last=False)
        in_the_way = Account(owner=keccak256(b"in the way")[:20], balance_nano=LOOT_NANO)
        state.write(account_key(taken), in_the_way)
        assert state.root() == batch.frames[first_lie].post_root

        allocating = batch.frames[first_lie + 1]
        witness = build_witness(state, batch.header, allocating, rules, inbox).encode()
        proof = fraud_proof(lied_at, batch, first_lie + 1, messages=b"", witness=witness, salt=bytes(32))
        await where.prover.commit_fraud(proof.commitment(PROVER))
        await where.mine(PARAMS.reveal_delay_blocks)
        proven = await where.prover.prove_fraud(proof)

        assert (proven.batch_id, proven.frame_index, proven.code) == (lied_at, first_lie + 1, Code.BAD_ALLOCATION)
        assert await where.prover.batch_count() == lied_at <= posted.batch_id
        await tower.settle()
        dispute = tower.view().disputes[-1]
        assert (dispute.stage, dispute.code) == (DisputeStage.REVERTED, Code.BAD_ALLOCATION)
