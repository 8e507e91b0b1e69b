"""Fraud proofs on a real EVM against the real state transition: who may prove what, when, and what it costs whom."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chain.codec import MAX_FORCED_TX_BYTES, BatchHeader, encode_inbox_body
from chain.l1.connection import checksum
from chain.signing import ZERO_ADDRESS, address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT
from chain.stf import Code
from chain.txs import CreateAccount, Transfer
from tests.chain.contracts.conftest import REVEAL_BLOCKS, TAKEOVER_S, WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2, SALT, Posted, arguments

ETHER = 10**18
LIE = b"\x66" * 32
ALICE, BOB, CAROL = (checksum(person(number)) for number in range(3))
replace = msgspec.structs.replace


@pytest.fixture
def rollup(deploy_rollup: Callable[..., Handle]) -> Handle:
    """A rollup with an empty state; keys 0 and 1 are bonded."""
    rollup = deploy_rollup(genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER + 1)
    rollup.send("depositBond", key=KEYS[1], value_wei=ETHER)
    return rollup


@pytest.fixture
def l2(ledger: Ledger, rollup: Handle, asset: Handle) -> L2:
    return L2(ledger, rollup, inbox_of(ledger, rollup, asset))


def create(number: int) -> bytes:
    return CreateAccount(address_of(keccak256(b"owner %d" % number))).encode()


def transfer(l2: L2, amount_nano: int, nonce: int = 0) -> bytes:
    """From account 1, which key 3 owns, to account 2, which nobody has a key of."""
    tx, recipient = Transfer(1, 2, amount_nano, 0), address_of(keccak256(b"owner 0"))
    return tx.encode(sign_digest(KEYS[3], tx.digest(l2.domain, nonce, recipient)))


class TestProof:
    @pytest.mark.parametrize("frame_index", range(5))
    def test_a_lie_at_any_place_is_proven_and_everything_from_its_batch_on_is_taken_back(
        self, l2: L2, rollup: Handle, frame_index: int
    ) -> None:
        honest = l2.post(create(0))
        wrong = l2.post(*(create(number) for number in range(1, 6)), lies={frame_index: LIE})
        l2.post(create(6))

        sent = l2.prove(wrong.proof(frame_index))

        assert sent.event("FraudProven") == {
            "batchId": 1, "submitter": ALICE, "prover": CAROL, "frameIndex": frame_index, "code": Code.WRONG_ROOT,
            "batchesBefore": 3,
        }  # fmt: skip
        assert (rollup.call("count"), rollup.call("finalCount")) == (1, 0)
        assert rollup.call("headRoot") == honest.batch.frames[-1].post_root
        assert rollup.call("leader") == "0x" + ZERO_ADDRESS.hex()
        assert sent.event("LeaderChanged") == {"leader": "0x" + ZERO_ADDRESS.hex()}

    def test_an_honest_batch_cannot_be_proven_wrong_at_any_place(self, l2: L2, rollup: Handle) -> None:
        l2.deposit(person(3), 5_000)
        l2.force(b"nonsense")
        posted = l2.post(create(0), create(1), transfer(l2, 5))

        for frame_index in range(len(posted.batch.frames)):
            with pytest.raises(Reverted, match="NotFraud"):
                l2.prove(posted.proof(frame_index))
        assert rollup.call("count") == 1
        assert rollup.call("bonds", ALICE)[0] == ETHER + 1

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", Code.MALFORMED),
            (b"\xff", Code.UNKNOWN_TYPE),
            (create(1)[:-1], Code.MALFORMED),
            (create(1) * 9, Code.TOO_MANY_IN_FRAME),
            (encode_inbox_body(0, 1), Code.INBOX_ORDER),
            (encode_inbox_body(2, 0), Code.INBOX_ORDER),
            (encode_inbox_body(2, 9), Code.TOO_MANY_IN_FRAME),
            (encode_inbox_body(2**64 - 1, 8), Code.INBOX_ORDER),
            (b"\x00" * 9, Code.MALFORMED),
            (b"\x00" * 11, Code.MALFORMED),
        ],
    )
    def test_a_frame_that_breaks_a_rule_is_wrong_whatever_its_root(
        self, l2: L2, rollup: Handle, body: bytes, code: Code
    ) -> None:
        l2.deposit(person(3), 5_000)
        l2.deposit(person(2), 5_000)
        wrong = l2.post(body)

        sent = l2.prove(wrong.proof(1))

        assert sent.event("FraudProven")["code"] == code
        assert rollup.call("count") == 0

    def test_an_inbox_frame_is_re_executed_from_what_the_inbox_holds(self, l2: L2) -> None:
        for number in range(3):
            l2.deposit(person(number), 1_000 + number)
        l2.force(b"x" * MAX_FORCED_TX_BYTES)
        wrong = l2.post(lies={0: LIE})
        proof = wrong.proof(0)
        l2.commit(proof)
        l2.ledger.mine(REVEAL_BLOCKS)
        for messages in (b"", proof.messages[:-1], proof.messages + b"\0", b"\x02" + proof.messages[1:]):
            with pytest.raises(Reverted, match="WrongMessages"):
                l2.reveal(replace(proof, messages=messages))

        assert l2.reveal(proof).event("FraudProven")["code"] == Code.WRONG_ROOT

    def test_messages_left_unread_by_the_last_frame_are_fraud(self, l2: L2) -> None:
        for number in range(2):
            l2.deposit(person(number), 1_000)
        l2.messages.pop(1)
        posted = l2.post(inbox_to=1)
        assert len(posted.batch.frames) == 1
        l2._arrived("deposit", 1, owner=person(1), index_hint=2**32 - 1, amount_nano=1_000)
        header = replace(posted.batch.header, inbox_to=2)
        wrong = _post_as_it_is(l2, header, [encode_inbox_body(1, 1)[:-1] + b"\x00"])

        assert l2.prove(wrong.proof(0)).event("FraudProven")["code"] == Code.INBOX_ORDER

    def test_a_final_cursor_short_of_the_header_is_fraud(self, l2: L2) -> None:
        for number in range(3):
            l2.deposit(person(number), 1_000)
        wrong = _post_as_it_is(l2, BatchHeader(l2_time_s=l2.ledger.now_s, inbox_to=3), [encode_inbox_body(0, 2)])

        assert l2.prove(wrong.proof(0)).event("FraudProven")["code"] == Code.WRONG_CURSOR

    @pytest.mark.parametrize(
        "change",
        [{"frame_index": 2}, {"post_root": GENESIS_ROOT}, {"body": create(9)}, {"siblings": ()},
         {"siblings": (LIE, LIE)}, {"siblings": (LIE,) * 3}, {"frame_index": 2**255}],
    )  # fmt: skip
    def test_a_frame_that_was_not_posted_there_proves_nothing(self, l2: L2, change: dict[str, Any]) -> None:
        lies = {0: LIE, 1: LIE}
        l2.post(*(create(number) for number in range(4)), lies=lies)
        wrong = l2.post(*(create(number) for number in range(5, 8)))
        proof = replace(
            wrong.proof(1), batch_id=0, **{key: value for key, value in change.items() if key != "batch_id"}
        )
        if "batch_id" in change:
            proof = replace(proof, batch_id=1, previous=replace(proof.previous, post_root=LIE))

        with pytest.raises(Reverted, match="WrongFrame"):
            l2.prove(proof)

    def test_the_state_before_cannot_be_made_up(self, l2: L2) -> None:
        posted = l2.post(*(create(number) for number in range(3)))
        proof = posted.proof(1)
        l2.commit(proof)
        l2.ledger.mine(REVEAL_BLOCKS)
        for previous in (
            replace(proof.previous, post_root=LIE),
            replace(proof.previous, body_hash=LIE),
            replace(proof.previous, siblings=proof.siblings),
            replace(proof.previous, siblings=()),
        ):
            with pytest.raises(Reverted) as refused:
                l2.reveal(replace(proof, previous=previous))
            assert (refused.value.name, refused.value.arguments) == ("WrongFrame", (0,))

    def test_a_witness_of_another_state_proves_nothing(self, l2: L2, rollup: Handle) -> None:
        posted = l2.post(*(create(number) for number in range(3)))
        stale = replace(posted.proof(2), witness=posted.witnesses[1])

        with pytest.raises(Reverted, match="WrongPreviousState"):
            l2.prove(stale)

        assert rollup.call("count") == 1

    def test_a_batch_that_is_final_or_does_not_stand_cannot_be_challenged(self, l2: L2, ledger: Ledger) -> None:
        wrong = l2.post(create(0), lies={0: LIE})
        ledger.now_s += WINDOW_S
        l2.rollup.send("finalize", 1)
        for batch_id in (0, 1, 2**255):
            with pytest.raises(Reverted, match="NotChallengeable"):
                l2.prove(replace(wrong.proof(0), batch_id=batch_id))

    def test_a_batch_past_its_window_is_challengeable_until_somebody_finalizes_it(self, l2: L2, ledger: Ledger) -> None:
        wrong = l2.post(create(0), lies={0: LIE})
        ledger.now_s += 10 * WINDOW_S

        l2.prove(wrong.proof(0))

        assert l2.rollup.call("count") == 0


class TestCommitment:
    def test_a_commitment_that_is_no_younger_than_the_batch_proves_nothing(
        self, l2: L2, ledger: Ledger, rollup: Handle
    ) -> None:
        """Whoever posts a wrong batch knows its proof before anybody else, and commits to it beforehand."""
        mark = l2.state.mark()
        planned = l2.build(BatchHeader(l2_time_s=ledger.now_s, inbox_to=0), [create(0)], {0: LIE})
        l2.state.rollback(mark)
        l2.commit(planned.proof(0), key=KEYS[3])
        ledger.mine(REVEAL_BLOCKS)
        posted = l2.post(create(0), lies={0: LIE})
        block = ledger.evm.head().block_number

        with pytest.raises(Reverted) as refused:
            l2.reveal(posted.proof(0), key=KEYS[3])

        assert (refused.value.name, refused.value.arguments) == ("CommittedTooEarly", (block,))
        l2.prove(posted.proof(0))
        assert rollup.call("rewards", ALICE, 0)[1] == CAROL.lower()

    def test_a_reveal_waits_for_its_blocks_and_not_one_more(self, l2: L2, ledger: Ledger) -> None:
        proof = l2.post(create(0), lies={0: LIE}).proof(0)
        committed = l2.commit(proof)
        assert committed.event("FraudCommitted") == {"prover": CAROL, "commitment": proof.commitment(person(2))}
        block = ledger.evm.head().block_number
        assert l2.rollup.call("fraudCommittedAt", CAROL, proof.commitment(person(2))) == block
        ledger.mine(REVEAL_BLOCKS - 2)
        with pytest.raises(Reverted) as refused:
            l2.reveal(proof)
        assert (refused.value.name, refused.value.arguments) == ("RevealTooEarly", (block + REVEAL_BLOCKS,))

        ledger.mine(1)

        l2.reveal(proof)

    def test_whoever_copies_a_reveal_gets_nothing(self, l2: L2, ledger: Ledger) -> None:
        """The copyist sees the whole proof in the mempool, and had copied the commitment when it appeared."""
        proof = l2.post(create(0), lies={0: LIE}).proof(0)
        l2.commit(proof)
        l2.rollup.send("commitFraud", proof.commitment(person(2)), key=KEYS[3])
        ledger.mine(REVEAL_BLOCKS)
        with pytest.raises(Reverted, match="NotCommitted"):
            l2.reveal(proof, key=KEYS[3])
        l2.commit(proof, key=KEYS[3])
        with pytest.raises(Reverted, match="RevealTooEarly"):
            l2.reveal(proof, key=KEYS[3])

        assert l2.reveal(proof).event("BondSlashed")["prover"] == CAROL

    @pytest.mark.parametrize("change", [{"salt": bytes(32)}, {"frame_index": 1}, {"batch_id": 1}, {"witness": b"\x01"}])
    def test_only_what_was_committed_to_can_be_revealed(self, l2: L2, ledger: Ledger, change: dict[str, Any]) -> None:
        proof = l2.post(create(0), create(1), lies={0: LIE}).proof(0)
        l2.commit(proof)
        ledger.mine(REVEAL_BLOCKS)

        with pytest.raises(Reverted, match="NotCommitted"):
            l2.reveal(replace(proof, **change))

    def test_a_commitment_is_made_once(self, l2: L2, ledger: Ledger) -> None:
        proof = l2.post(create(0), lies={0: LIE}).proof(0)
        l2.commit(proof)
        block = ledger.evm.head().block_number

        with pytest.raises(Reverted) as refused:
            l2.commit(proof)

        assert (refused.value.name, refused.value.arguments) == ("AlreadyCommitted", (block,))

    def test_the_commitment_is_what_the_contract_computes(self, l2: L2) -> None:
        proof = l2.post(create(0)).proof(0)

        with pytest.raises(Reverted) as refused:
            l2.reveal(proof)

        assert refused.value.arguments == (proof.commitment(person(2)),)
        assert proof.salt == SALT


class TestSlashing:
    def test_the_bond_is_halved_to_the_wei(self, l2: L2, ledger: Ledger, rollup: Handle) -> None:
        proof = l2.post(create(0), lies={0: LIE}).proof(0)
        l2.commit(proof)
        ledger.mine(REVEAL_BLOCKS)
        held = ledger.evm.balance_wei(rollup.address)
        sent = l2.reveal(proof)

        assert sent.event("BondSlashed") == {
            "sequencer": ALICE, "prover": CAROL, "bondEpoch": 0, "toProver": ETHER // 2, "burnt": ETHER // 2 + 1,
        }  # fmt: skip
        assert ledger.evm.balance_wei(rollup.address) == held
        assert rollup.call("bonds", ALICE) == (0, 1, 1, 0)
        assert rollup.call("rewards", ALICE, 0) == (ETHER // 2, CAROL.lower(), 0)

    def test_whoever_proved_the_first_batch_is_paid_at_once_by_whoever_asks(
        self, l2: L2, ledger: Ledger, odd: Callable[..., Handle]
    ) -> None:
        """A contract as the prover, whose balance no gas touches."""
        prover = odd("Forwarder")
        prove_as(prover, l2.post(create(0), lies={0: LIE}).proof(0), l2)

        sent = l2.rollup.send("claimReward", ALICE, 0, key=KEYS[3])

        assert sent.event("RewardClaimed") == {
            "sequencer": ALICE, "bondEpoch": 0, "prover": checksum(prover.address), "amount": ETHER // 2,
        }  # fmt: skip
        assert ledger.evm.balance_wei(prover.address) == ETHER // 2
        with pytest.raises(Reverted, match="NoReward"):
            l2.rollup.send("claimReward", ALICE, 0)

    def test_a_reward_is_due_when_no_earlier_batch_can_be_proven_any_more(self, l2: L2, ledger: Ledger) -> None:
        l2.post(create(0))
        l2.prove(l2.post(create(1), lies={0: LIE}).proof(0))
        with pytest.raises(Reverted) as refused:
            l2.rollup.send("claimReward", ALICE, 0)
        assert (refused.value.name, refused.value.arguments) == ("RewardNotFinal", (1,))

        l2.finalize(WINDOW_S)

        assert l2.rollup.send("claimReward", ALICE, 0).event("RewardClaimed")["prover"] == CAROL

    def test_a_prover_that_refuses_its_reward_harms_itself_alone(
        self, l2: L2, ledger: Ledger, odd: Callable[..., Handle]
    ) -> None:
        prove_as(odd("RefusesEther"), l2.post(create(0), lies={0: LIE}).proof(0), l2)

        assert l2.rollup.call("count") == 0
        with pytest.raises(Reverted, match="EtherRefused"):
            l2.rollup.send("claimReward", ALICE, 0)
        assert l2.rollup.call("rewards", ALICE, 0)[0] == ETHER // 2

    def test_a_prover_that_calls_back_finds_everything_done(
        self, l2: L2, ledger: Ledger, odd: Callable[..., Handle]
    ) -> None:
        """Paid in the middle of its claim, it claims again."""
        prover = odd("CallsBack")
        prove_as(prover, l2.post(create(0), lies={0: LIE}).proof(0), l2)
        again = l2.rollup.encode("claimReward", ALICE, 0)
        prover.send("arm", l2.rollup.contract.address, again)

        prover.send("forward", l2.rollup.contract.address, again)

        assert (prover.call("attempts"), prover.call("successes")) == (1, 0)
        assert ledger.evm.balance_wei(prover.address) == ETHER // 2
        assert ledger.evm.balance_wei(l2.rollup.address) == ETHER + ETHER // 2 + 1

    def test_what_was_built_on_a_lie_is_proven_wrong_by_the_lie_alone(self, l2: L2, rollup: Handle) -> None:
        first = l2.post(create(0), lies={0: LIE})
        second = l2.post(create(1), lies={0: LIE})
        # Nobody has a state whose root is the lie, so nothing after it can be re-executed.
        with pytest.raises(Reverted, match="WrongPreviousState"):
            l2.prove(second.proof(0))

        l2.prove(first.proof(0))

        assert rollup.call("count") == 0

    def test_a_decoy_earns_nothing_where_an_earlier_theft_of_the_same_bond_is_proven(
        self, l2: L2, rollup: Handle, ledger: Ledger
    ) -> None:
        """The thief's friend proves a later batch first; the reward is whose who proves the theft."""
        first = l2.post(create(0), create(1), lies={0: LIE})
        second = l2.post(create(2), lies={0: LIE})
        friend = l2.prove(second.proof(0), key=KEYS[3]).event("BondSlashed")
        assert (friend["toProver"], friend["burnt"]) == (ETHER // 2, ETHER // 2 + 1)
        with pytest.raises(Reverted, match="RewardNotFinal"):
            rollup.send("claimReward", ALICE, 0, key=KEYS[3])

        sent = l2.prove(first.proof(0)).event("BondSlashed")

        assert (sent["prover"], sent["toProver"], sent["burnt"]) == (CAROL, ETHER // 2, 0)
        assert rollup.call("count") == 0
        assert rollup.send("claimReward", ALICE, 0).event("RewardClaimed")["prover"] == CAROL
        assert ledger.evm.balance_wei(rollup.address) == ETHER + ETHER // 2 + 1

    def test_an_earlier_fraud_of_a_bond_leaves_the_next_bond_of_the_same_hand_alone(
        self, l2: L2, rollup: Handle, ledger: Ledger
    ) -> None:
        first = l2.post(create(0), create(1), lies={0: LIE})
        l2.prove(l2.post(create(2), lies={0: LIE}).proof(0))
        rollup.send("depositBond", value_wei=ETHER)

        l2.prove(first.proof(0))
        ledger.now_s += WINDOW_S

        assert rollup.call("bonds", ALICE)[0] == ETHER
        assert rollup.call("bonds", ALICE)[2] == 1
        assert rollup.send("withdrawBond").event("BondWithdrawn") == {"sequencer": ALICE, "amount": ETHER}

    def test_only_the_guilty_submitter_loses_its_bond(self, l2: L2, rollup: Handle, ledger: Ledger) -> None:
        """Who built on the bad batch is cut off with it, keeps its bond, and need not wait for those batches."""
        wrong = l2.post(create(0), lies={0: LIE})
        l2.force(b"ignored by the leader")
        ledger.now_s += TAKEOVER_S + 1
        l2.post(create(1), key=KEYS[1])
        with pytest.raises(Reverted, match="BondLocked"):
            rollup.send("withdrawBond", key=KEYS[1])

        l2.prove(wrong.proof(0))
        ledger.now_s += WINDOW_S

        assert rollup.call("bonds", BOB)[0] == ETHER
        assert rollup.send("withdrawBond", key=KEYS[1]).event("BondWithdrawn") == {"sequencer": BOB, "amount": ETHER}

    def test_a_slashed_sequencer_needs_a_new_bond(self, l2: L2, rollup: Handle) -> None:
        l2.prove(l2.post(create(0), lies={0: LIE}).proof(0))
        l2.state = type(l2.state).genesis()

        with pytest.raises(Reverted, match="BondTooSmall"):
            l2.post(create(1))
        with pytest.raises(Reverted, match="NoBond"):
            rollup.send("withdrawBond")


class TestRollback:
    def test_the_inbox_cursor_returns_and_the_messages_are_executed_again(self, l2: L2, rollup: Handle) -> None:
        l2.deposit(person(3), 700)
        wrong = l2.post(create(0), lies={1: LIE})
        assert rollup.call("oldestPending") == (1, 0)

        l2.prove(wrong.proof(1))

        assert rollup.call("oldestPending") == (0, l2.messages[0].at_s)
        l2.state = type(l2.state).genesis()
        l2.post(key=KEYS[1])
        account = l2.state.account(1)
        assert account is not None
        assert (account.owner, account.balance_nano) == (person(3), 700)
        assert rollup.call("leader") == BOB.lower()

    def test_what_is_final_stays(self, l2: L2, rollup: Handle) -> None:
        l2.post(create(0))
        l2.finalize(WINDOW_S)
        final_root = rollup.call("headRoot")
        wrong = l2.post(create(1), lies={0: LIE})

        l2.prove(wrong.proof(0))

        assert (rollup.call("count"), rollup.call("finalCount"), rollup.call("headRoot")) == (1, 1, final_root)

    def test_the_same_id_may_be_posted_and_proven_again(self, l2: L2, rollup: Handle, ledger: Ledger) -> None:
        l2.prove(l2.post(create(0), lies={0: LIE}).proof(0))
        l2.state = type(l2.state).genesis()
        second = l2.post(create(0), lies={0: secrets.token_bytes(32)}, key=KEYS[1])
        proof = replace(second.proof(0), salt=keccak256(b"another"))

        assert l2.prove(proof).event("FraudProven")["submitter"] == BOB
        assert rollup.call("count") == 0


def prove_as(prover: Handle, proof: Any, l2: L2) -> None:
    """Commit and reveal by a contract."""
    target = l2.rollup.contract.address
    prover.send("forward", target, l2.rollup.encode("commitFraud", proof.commitment(prover.address)))
    l2.ledger.mine(REVEAL_BLOCKS)
    prover.send("forward", target, l2.rollup.encode("proveFraud", *arguments(proof)))


def _post_as_it_is(l2: L2, header: Any, bodies: list[bytes]) -> Posted:
    """Post frames that no honest sequencer would build."""
    from chain.codec import encode_batch

    posted = l2.build(header, bodies, {})
    l2.submit(posted.batch_id, header.inbox_to, encode_batch(header, posted.batch.frames))
    return posted
