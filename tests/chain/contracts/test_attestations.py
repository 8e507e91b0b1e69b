"""Watchtowers that vouch with a bond: what is right costs them nothing ever, what is wrong costs everything, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chain.attestations import Attestation, attestation_digest, batch_hash
from chain.l1.artifacts import artifact
from chain.l1.connection import checksum
from chain.signing import SECP256K1_N, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.txs import CreateAccount
from tests.chain.contracts.conftest import WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2, arguments

ETHER = 10**18
BOND = 5 * ETHER + 1
BURNT = bytes.fromhex("000000000000000000000000000000000000dEaD")
LIE = keccak256(b"a lie")
TOWER, PROVER = KEYS[1], KEYS[2]
DELAY_S = 2 * WINDOW_S


@pytest.fixture
def rollup(deploy_rollup: Callable[..., Handle]) -> Handle:
    rollup = deploy_rollup(genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER)
    return rollup


@pytest.fixture
def l2(ledger: Ledger, rollup: Handle, asset: Handle) -> L2:
    return L2(ledger, rollup, inbox_of(ledger, rollup, asset))


@pytest.fixture
def attestations(ledger: Ledger, rollup: Handle) -> Handle:
    """The rollup's own, where one watchtower is bonded."""
    handle = ledger.at(artifact("Attestations").abi, bytes.fromhex(rollup.call("attestations")[2:]))
    handle.send("deposit", key=TOWER, value_wei=BOND)
    return handle


def create(number: int) -> bytes:
    return CreateAccount(person(number)).encode()


def word(l2: L2, batch_id: int, key: bytes = TOWER) -> tuple[int, bytes, bytes]:
    """What a watchtower signs about a batch that stands, as `slash` takes it."""
    name = l2.rollup.call("batchHash", batch_id)
    return batch_id, name, sign_digest(key, attestation_digest(l2.domain, batch_id, name))


def proven_wrong(l2: L2) -> tuple[int, bytes, bytes]:
    """A watchtower's word about a batch that turned out to be wrong."""
    kept = l2.state.items()
    wrong = l2.post(create(0), lies={0: LIE})
    vouched = word(l2, wrong.batch_id)
    l2.prove(wrong.proof(0), key=PROVER)
    l2.state = RollupState.from_leaves(kept)
    return vouched


class TestTheHash:
    def test_is_what_this_program_computes_from_what_it_executed(self, l2: L2) -> None:
        inbox_hash, roots = bytes(32), [GENESIS_ROOT]
        for number in range(3):
            l2.deposit(person(1), 100 + number)
            posted = l2.post(create(number))
            roots.append(l2.state.root())
            inbox_hash = l2.inbox.call("hashOf", number + 1)
            assert l2.rollup.call("batchHash", number) == batch_hash(number, roots[-2], inbox_hash, posted.batch)
        with pytest.raises(Reverted, match="NoSuchBatch"):
            l2.rollup.call("batchHash", 3)

    def test_is_the_same_for_the_same_batch_posted_again(self, l2: L2, rollup: Handle, ledger: Ledger) -> None:
        """A reorg or a fraud before it may post it again, later and by another: what was vouched for is still that."""
        kept = l2.state.items()
        first = l2.post(create(0), lies={0: LIE})
        before = rollup.call("batchHash", 0)
        l2.prove(first.proof(0), key=PROVER)
        l2.state = RollupState.from_leaves(kept)
        rollup.send("depositBond", key=KEYS[3], value_wei=ETHER)
        time_s = first.batch.header.l2_time_s
        ledger.now_s += 5
        l2.post(create(0), lies={0: LIE}, l2_time_s=time_s, key=KEYS[3])
        assert rollup.call("batchHash", 0) == before


class TestABond:
    def test_grows_and_returns_whole_after_its_delay(self, attestations: Handle, ledger: Ledger) -> None:
        attestations.send("deposit", key=TOWER, value_wei=7)
        leaves_at = attestations.send("startWithdrawal", key=TOWER).event("BondLeaving")["leavesAt"]
        assert leaves_at == ledger.now_s + DELAY_S
        ledger.now_s += DELAY_S - 1
        with pytest.raises(Reverted, match="BondLocked"):
            attestations.send("withdraw", key=TOWER)
        ledger.now_s += 1
        assert attestations.send("withdraw", key=TOWER).event("BondWithdrawn")["amount"] == BOND + 7
        assert ledger.evm.balance_wei(attestations.address) == 0
        with pytest.raises(Reverted, match="NoBond"):
            attestations.send("withdraw", key=TOWER)

    def test_does_not_leave_without_being_asked_for(self, attestations: Handle, ledger: Ledger) -> None:
        ledger.now_s += 10 * DELAY_S
        with pytest.raises(Reverted, match="BondLocked"):
            attestations.send("withdraw", key=TOWER)

    def test_on_its_way_out_neither_grows_nor_starts_again(self, attestations: Handle, ledger: Ledger) -> None:
        attestations.send("startWithdrawal", key=TOWER)
        ledger.now_s += 5
        for call, value in (("deposit", 1), ("startWithdrawal", 0)):
            with pytest.raises(Reverted, match="BondIsLeaving"):
                attestations.send(call, key=TOWER, value_wei=value)

    def test_can_be_put_up_again_once_it_was_taken_back(self, attestations: Handle, ledger: Ledger) -> None:
        attestations.send("startWithdrawal", key=TOWER)
        ledger.now_s += DELAY_S
        attestations.send("withdraw", key=TOWER)
        attestations.send("deposit", key=TOWER, value_wei=3)
        assert attestations.call("bonds", checksum(person(1))) == (3, 0)

    def test_outlives_every_window_that_was_open_when_it_was_asked_for(
        self, l2: L2, attestations: Handle, ledger: Ledger
    ) -> None:
        """Vouched for and asked back at once: the proof of the window's last second still finds it."""
        wrong = l2.post(create(0), lies={0: LIE})
        vouched = word(l2, 0)
        attestations.send("startWithdrawal", key=TOWER)
        ledger.now_s += WINDOW_S - 1
        l2.prove(wrong.proof(0), key=PROVER)
        ledger.now_s += WINDOW_S
        attestations.send("slash", *vouched)
        assert attestations.call("bonds", checksum(person(1))) == (0, 0)


class TestASlash:
    def test_halves_the_bond_between_the_prover_and_nobody_whoever_reports(
        self, l2: L2, attestations: Handle, ledger: Ledger
    ) -> None:
        vouched = proven_wrong(l2)
        held = ledger.evm.balance_wei(person(2)), ledger.evm.balance_wei(BURNT)
        sent = attestations.send("slash", *vouched, key=KEYS[3])
        assert sent.event("AttesterSlashed") == {
            "attester": checksum(person(1)),
            "batchHash": vouched[1],
            "prover": checksum(person(2)),
            "toProver": BOND // 2,
            "burnt": BOND - BOND // 2,
        }
        assert ledger.evm.balance_wei(person(2)) == held[0] + BOND // 2
        assert ledger.evm.balance_wei(BURNT) == held[1] + BOND - BOND // 2
        assert ledger.evm.balance_wei(attestations.address) == 0

    def test_pays_who_proved_first_though_the_same_batch_came_again(
        self, l2: L2, attestations: Handle, ledger: Ledger
    ) -> None:
        """The attester's friend posts the same wrong batch again and proves it, for the prover's half of the bond."""
        kept = l2.state.items()
        first = l2.post(create(0), lies={0: LIE})
        vouched = word(l2, 0)
        l2.prove(first.proof(0), key=PROVER)
        l2.state = RollupState.from_leaves(kept)
        l2.rollup.send("depositBond", key=KEYS[3], value_wei=ETHER)
        again = l2.post(create(0), lies={0: LIE}, l2_time_s=first.batch.header.l2_time_s, key=KEYS[3])
        l2.prove(again.proof(0), key=KEYS[3])
        held = ledger.evm.balance_wei(person(2))
        attestations.send("slash", *vouched, key=KEYS[3])
        assert ledger.evm.balance_wei(person(2)) == held + BOND // 2

    def test_happens_once_and_for_good(self, l2: L2, attestations: Handle) -> None:
        vouched = proven_wrong(l2)
        attestations.send("slash", *vouched)
        with pytest.raises(Reverted, match="NoAttestation"):
            attestations.send("slash", *vouched)
        with pytest.raises(Reverted, match="SlashedBefore"):
            attestations.send("deposit", key=TOWER, value_wei=1)

    def test_takes_nothing_for_a_batch_that_nobody_proved_wrong(self, l2: L2, attestations: Handle) -> None:
        l2.post(create(0))
        with pytest.raises(Reverted, match="NotProvenWrong"):
            attestations.send("slash", *word(l2, 0))

    def test_takes_nothing_for_what_stood_in_the_wrong_batchs_place_before_or_after(
        self, l2: L2, attestations: Handle
    ) -> None:
        """Another batch of the same number, honest, is another hash."""
        proven_wrong(l2)
        l2.rollup.send("depositBond", value_wei=ETHER)
        l2.post(create(0))
        with pytest.raises(Reverted, match="NotProvenWrong"):
            attestations.send("slash", *word(l2, 0))

    def test_takes_nothing_without_the_attesters_own_signature(self, l2: L2, attestations: Handle) -> None:
        number, name, signature = proven_wrong(l2)
        s = int.from_bytes(signature[32:], "big")
        twin = SECP256K1_N - (s & (2**255 - 1)) | (1 - (s >> 255)) << 255
        strangers = sign_digest(KEYS[3], attestation_digest(l2.domain, number, name))
        for wrong in (strangers, signature[:32] + twin.to_bytes(32, "big"), signature[:-1], bytes(64), b""):
            with pytest.raises(Reverted, match="NoAttestation"):
                attestations.send("slash", number, name, wrong)
        with pytest.raises(Reverted, match="NoAttestation"):
            attestations.send("slash", number + 1, name, signature)

    def test_is_not_saved_by_a_prover_that_refuses_its_half(
        self, l2: L2, attestations: Handle, ledger: Ledger, odd: Callable[..., Handle]
    ) -> None:
        """The prover is the attester's friend and takes no ether for the slash: then all of it is burnt."""
        prover = odd("RefusesLater")
        wrong = l2.post(create(0), lies={0: LIE})
        vouched = word(l2, 0)
        proof, target = wrong.proof(0), l2.rollup.contract.address
        prover.send("forward", target, l2.rollup.encode("commitFraud", proof.commitment(prover.address)))
        ledger.mine(20)
        prover.send("forward", target, l2.rollup.encode("proveFraud", *arguments(proof)))
        prover.send("refuse")
        burnt = ledger.evm.balance_wei(BURNT)
        attestations.send("slash", *vouched)
        assert ledger.evm.balance_wei(BURNT) == burnt + BOND

    def test_hands_no_attester_of_the_zero_address_anything(self, l2: L2, attestations: Handle) -> None:
        number, name, _ = proven_wrong(l2)
        with pytest.raises(Reverted, match="NoAttestation"):
            attestations.send("slash", number, name, b"\x01" * 64)


def test_who_signed_is_the_same_to_the_contract_and_to_this_program(l2: L2, attestations: Handle) -> None:
    l2.post(create(0))
    number, name, signature = word(l2, 0)
    mine = Attestation(batch_id=number, batch_hash=name, signature=signature).attester(l2.domain)
    assert mine == person(1)
    assert attestations.call("attesterOf", number, name, signature) == checksum(person(1)).lower()
