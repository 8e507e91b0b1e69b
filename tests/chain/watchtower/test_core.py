"""What a watchtower decides, look by look; no L1 needed."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.l1.protocol import PendingMessage, PostedBatch
from chain.watchtower.core import (
    ClaimReward,
    CloseDispute,
    CommitProof,
    Dispute,
    Follow,
    Freeze,
    GiveUp,
    Known,
    Observation,
    OwnReward,
    Policy,
    Rest,
    RevealProof,
    Rewind,
    Wait,
    decide,
    identity,
    is_freezable,
    is_overdue,
)

POLICY = Policy(proves=True, freezes=False, reveal_delay_blocks=10, takeover_delay_s=40, freeze_delay_s=120)
FREEZING = msgspec.structs.replace(POLICY, freezes=True)
WATCHING = msgspec.structs.replace(POLICY, proves=False)
TIP, WRONG = b"tip", b"the wrong batch"
DISPUTE = Dispute(batch_id=3, identity=WRONG)


def observed(**changes) -> Observation:
    values = {"l1_block": 100, "now_s": 1_000, "batch_count": 3, "final_count": 1, "tip_hash": TIP}
    return Observation(**(values | changes))


def known(**changes) -> Known:
    return Known(**({"verified": 3, "tip_hash": TIP} | changes))


def disputed(**changes) -> Observation:
    return observed(**({"batch_count": 4, "disputed": WRONG} | changes))


class TestFollowing:
    def test_with_everything_verified_it_rests(self):
        assert decide(observed(), known(), POLICY) == Rest()

    def test_a_new_batch_is_followed(self):
        assert decide(observed(batch_count=5), known(), POLICY) == Follow(3)

    def test_fewer_batches_than_were_verified_are_a_rewind(self):
        assert decide(observed(batch_count=2), known(), POLICY) == Rewind()

    def test_another_block_under_the_newest_verified_batch_is_a_rewind(self):
        assert decide(observed(tip_hash=b"other"), known(), POLICY) == Rewind()
        assert decide(observed(tip_hash=None), known(), POLICY) == Rewind()

    def test_a_reorg_comes_before_a_dispute_that_it_may_have_ended(self):
        assert decide(disputed(tip_hash=b"other"), known(dispute=DISPUTE), POLICY) == Rewind()


class TestDisputes:
    def test_a_wrong_batch_is_committed_to(self):
        assert decide(disputed(), known(dispute=DISPUTE), POLICY) == CommitProof()

    def test_a_commitment_waits_for_its_reveal(self):
        assert decide(disputed(committed_at=95), known(dispute=DISPUTE), POLICY) == Wait(104)

    def test_it_is_revealed_so_that_the_next_block_may_take_it(self):
        assert decide(disputed(committed_at=91), known(dispute=DISPUTE), POLICY) == RevealProof()

    def test_a_commitment_that_l1_lost_is_made_again(self):
        assert decide(disputed(committed_at=None), known(dispute=DISPUTE), POLICY) == CommitProof()

    def test_a_batch_that_is_gone_closes_the_dispute_whoever_proved_it(self):
        assert decide(observed(disputed=None), known(dispute=DISPUTE), POLICY) == CloseDispute()

    def test_another_batch_under_its_number_closes_the_dispute(self):
        assert decide(disputed(disputed=b"a new one"), known(dispute=DISPUTE), POLICY) == CloseDispute()

    def test_a_wrong_batch_that_is_final_is_given_up(self):
        assert decide(disputed(final_count=4), known(dispute=DISPUTE), POLICY) == GiveUp()

    def test_what_was_given_up_is_not_built_on(self):
        given_up = msgspec.structs.replace(DISPUTE, is_given_up=True)

        assert decide(disputed(final_count=4, batch_count=9), known(dispute=given_up), POLICY) == Rest()

    def test_without_a_prover_a_wrong_batch_is_only_watched(self):
        assert decide(disputed(), known(dispute=DISPUTE), WATCHING) == Rest()

    def test_a_frozen_rollup_is_still_disputed(self):
        assert decide(disputed(frozen_at_s=900), known(dispute=DISPUTE), FREEZING) == CommitProof()


class TestInbox:
    def test_a_message_is_overdue_after_the_takeover_delay(self):
        assert not is_overdue(observed(pending=PendingMessage(index=0, at_s=960)), POLICY)
        assert is_overdue(observed(pending=PendingMessage(index=0, at_s=959)), POLICY)
        assert not is_overdue(observed(), POLICY)

    def test_it_freezes_only_when_told_to_and_late_enough(self):
        old, young = PendingMessage(index=0, at_s=879), PendingMessage(index=0, at_s=880)

        assert decide(observed(pending=old), known(), FREEZING) == Freeze()
        assert decide(observed(pending=young), known(), FREEZING) == Rest()
        assert decide(observed(pending=old), known(), POLICY) == Rest()

    def test_it_does_not_freeze_twice(self):
        look = observed(pending=PendingMessage(index=0, at_s=1), frozen_at_s=990)

        assert decide(look, known(), FREEZING) == Rest()

    def test_after_a_rollback_an_honest_sequencer_has_time_to_take_over(self):
        look = observed(pending=PendingMessage(index=0, at_s=1))

        assert decide(look, known(rolled_back_at_s=990), FREEZING) == Rest()
        assert decide(look, known(rolled_back_at_s=959), FREEZING) == Freeze()
        assert not is_freezable(look, known(rolled_back_at_s=960), POLICY)


def test_a_reward_is_claimed_when_it_is_due_and_nothing_else_is_to_be_done():
    reward = OwnReward(submitter=b"s" * 20, bond_epoch=0, batch_id=4)
    later = OwnReward(submitter=b"t" * 20, bond_epoch=1, batch_id=5)

    def step(**changes):
        return decide(observed(**changes), known(rewards=(later, reward)), POLICY)

    assert step(final_count=3) == decide(observed(final_count=3), known(), POLICY)
    assert step(final_count=4) == ClaimReward(reward)
    assert step(final_count=5) == ClaimReward(later)
    assert isinstance(step(final_count=4, batch_count=known().verified + 1), Follow)


def test_an_identity_tells_batches_apart_by_place_submitter_and_content():
    first = PostedBatch(
        batch_id=1,
        prev_root=b"p",
        post_root=b"q",
        inbox_hash=b"i",
        blob=b"b",
        l1_tx=b"t",
        l1_block=5,
        submitted_at_s=1,
        submitter=b"s",
    )
    others = [
        msgspec.structs.replace(first, **change)
        for change in ({"l1_tx": b"u"}, {"l1_block": 6}, {"submitter": b"r"}, {"blob": b"c"}, {"prev_root": b"o"})
    ]

    assert len({identity(one) for one in (first, *others)}) == 6
    assert identity(first) == identity(msgspec.structs.replace(first, submitted_at_s=9))


@settings(max_examples=60)
@given(
    blocks=st.lists(st.integers(0, 3), min_size=20, max_size=60),
    delay=st.integers(1, 12),
    lost_commits=st.integers(0, 2),
)
def test_a_standing_wrong_batch_is_revealed_in_time_however_blocks_come(blocks, delay, lost_commits):
    policy = msgspec.structs.replace(POLICY, reveal_delay_blocks=delay)
    block, committed = 100, None
    for grown in [*blocks, *[1] * (delay * 4 + 10)]:
        block += grown
        step = decide(disputed(l1_block=block, committed_at=committed), known(dispute=DISPUTE), policy)
        if isinstance(step, CommitProof):
            assert committed is None
            block += 1
            if lost_commits:
                lost_commits -= 1
            else:
                committed = block
        elif isinstance(step, Wait):
            assert step.until_block > block
        else:
            assert step == RevealProof()
            assert committed is not None
            assert block + 1 >= committed + delay
            return
    raise AssertionError("never revealed")
