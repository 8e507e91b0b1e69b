"""L2BEAT's questions for Stage 0, 1 and 2 and its risk rosette, each answered by the real contracts and the real code.

The names are the criteria. The list: https://l2beat.com/stages and https://l2beat.com/scaling/risk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from chain.codec import decode_batch
from chain.l1.artifacts import artifact
from chain.l1.connection import checksum
from chain.l1.protocol import PostedBatch
from chain.replay import Replayer
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.txs import CreateAccount, Transfer, Withdraw
from chain.types import Account, account_key, withdrawal_key
from tests.chain.contracts import conftest
from tests.chain.contracts.conftest import FORCE_S, FREEZE_S, NANO, TAKEOVER_S, WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2
from tests.docs.pages import ROOT

ledger, asset, stf, deploy_rollup = conftest.ledger, conftest.asset, conftest.stf, conftest.deploy_rollup
template = conftest.template

ETHER = 10**18
DELEGATECALL, CALLCODE, SELFDESTRUCT = 0xF4, 0xF2, 0xFF
PUSH1, PUSH32 = 0x60, 0x7F
LIE = keccak256(b"a root that nothing leads to")


@pytest.fixture
def rollup(deploy_rollup: Callable[..., Handle]) -> Handle:
    """With one bonded sequencer, who deployed it."""
    rollup = deploy_rollup(genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER)
    return rollup


@pytest.fixture
def l2(ledger: Ledger, rollup: Handle, asset: Handle) -> L2:
    """Two accounts with money, in a first batch."""
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.deposit(person(1), 1_000)
    l2.deposit(person(2), 500)
    l2.post()
    return l2


def signed(l2: L2, tx: Any, number: int) -> bytes:
    account = l2.state.account(number)
    assert account is not None
    raw: bytes = tx.encode(sign_digest(KEYS[number], tx.digest(l2.domain, account.nonce, bound_address(l2.state, tx))))
    return raw


def stranger(ledger: Ledger, number: int) -> bytes:
    """A key that nobody ever heard of, with ether for gas."""
    key = keccak256(b"a stranger" + bytes([number]))
    ledger.transact(KEYS[3], address_of(key), b"", value_wei=10 * ETHER)
    return key


def batches_in_calldata(l2: L2) -> list[PostedBatch]:
    """Every batch as anyone reads it from L1's transactions."""
    head = l2.ledger.evm.head().block_number
    found = []
    for row in l2.ledger.evm.logs(0, head, [l2.rollup.address], 1_000):
        mined = l2.ledger.evm.transaction(row.tx_hash)
        assert mined is not None
        if row.topics[0] != keccak256(_signature("BatchSubmitted")):
            continue
        _, arguments = l2.rollup.contract.decode_function_input(mined.transaction.data)
        found.append(
            PostedBatch(
                batch_id=arguments["id"],
                prev_root=arguments["prevRoot"],
                post_root=decode_batch(arguments["blob"]).frames[-1].post_root,
                inbox_hash=arguments["inboxHash"],
                blob=arguments["blob"],
                l1_tx=row.tx_hash,
                l1_block=row.block,
                submitted_at_s=0,
            )
        )
    return found


def _signature(event: str) -> bytes:
    entry = next(one for one in artifact("Rollup").abi if one["type"] == "event" and one["name"] == event)
    return f"{event}({','.join(argument['type'] for argument in entry['inputs'])})".encode()


def rebuilt(l2: L2) -> RollupState:
    """The state that L1's data alone leads to."""
    replayer = Replayer(l2.rules)
    replayer.add_messages(list(l2.messages.values()))
    for posted in batches_in_calldata(l2):
        replayer.advance(posted)
    return replayer.state


def opcodes(code: bytes) -> Iterator[int]:
    """The instructions of runtime code, without what they push and without the metadata behind them."""
    length = len(code) - 2 - int.from_bytes(code[-2:], "big")
    place = 0
    while place < length:
        yield code[place]
        place += 1 + (code[place] - PUSH1 + 1 if PUSH1 <= code[place] <= PUSH32 else 0)


def changing_functions(name: str) -> list[dict[str, Any]]:
    return [
        entry
        for entry in artifact(name).abi
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    ]


def refusals(ledger: Ledger, contract: Handle, name: str, key: bytes) -> dict[str, tuple[str, Any]]:
    """How every state-changing function turns a caller away that asks for nothing sensible."""
    found = {}
    for entry in changing_functions(name):
        arguments = [_nothing(argument) for argument in entry["inputs"]]
        try:
            contract.send(entry["name"], *arguments, key=key)
        except Reverted as refusal:
            found[entry["name"]] = (refusal.name, refusal.arguments)
        else:
            found[entry["name"]] = ("taken", ())
    return found


def _nothing(argument: dict[str, Any]) -> Any:
    kind = argument["type"]
    if kind.endswith("]"):
        size = kind[kind.rindex("[") + 1 : -1]
        return [_nothing(argument | {"type": kind[: kind.rindex("[")]})] * int(size) if size else []
    if kind == "tuple":
        return tuple(_nothing(component) for component in argument["components"])
    if kind == "address":
        return checksum(b"\x01" * 20)
    if kind.startswith("bytes"):
        return bytes(int(kind[5:] or 0))
    return 0


def exit_arguments(state: RollupState, number: int) -> tuple[Any, ...]:
    account = state.account(number)
    assert isinstance(account, Account)
    fields = (
        checksum(account.owner), account.balance_nano, account.nonce, account.stake_nano, account.unlocking_nano,
        account.unlock_at_s, account.channels, account.slash_from,
    )  # fmt: skip
    return number, fields, state.proof(account_key(number))


def end(l2: L2) -> None:
    """Sequencer and operator are dead, and a stranger freezes."""
    l2.force(b"nobody executes this")
    l2.ledger.now_s += FREEZE_S + 1
    l2.rollup.send("freeze", key=KEYS[3])
    l2.rollup.send("finalize", l2.rollup.call("count"), key=KEYS[3])


class TestStage0:
    def test_the_project_calls_itself_a_rollup(self) -> None:
        assert (ROOT / "docs" / "rollup.md").read_text().startswith("# The rollup")

    def test_l2_state_roots_are_posted_to_l1(self, l2: L2, rollup: Handle) -> None:
        l2.post(signed(l2, Transfer(1, 2, 5, 0), 1))

        assert rollup.call("headRoot") == l2.state.root()
        for posted in batches_in_calldata(l2):
            assert all(any(frame.post_root) for frame in decode_batch(posted.blob).frames)

    def test_the_project_provides_data_availability_on_l1(self, l2: L2) -> None:
        body = signed(l2, Transfer(1, 2, 5, 0), 1)
        l2.post(body)

        posted = batches_in_calldata(l2)[-1]

        assert decode_batch(posted.blob).frames[0].body == body

    def test_software_that_reconstructs_the_rollups_state_is_available(self, l2: L2) -> None:
        l2.post(signed(l2, Transfer(1, 2, 5, 0), 1))
        l2.post(signed(l2, Withdraw(1, 7, 0, person(3)), 1))

        assert rebuilt(l2).items() == l2.state.items()
        assert (ROOT / "LICENSE").exists()


class TestStage1:
    def test_the_project_uses_a_proper_proof_system(self, l2: L2, rollup: Handle) -> None:
        """Any wrong frame is disproven by one transaction, and no right one is."""
        honest = l2.post(signed(l2, Transfer(1, 2, 5, 0), 1))
        with pytest.raises(Reverted, match="NotFraud"):
            l2.prove(honest.proof(0))

        lying = l2.post(CreateAccount(person(3)).encode(), lies={0: LIE})
        l2.prove(lying.proof(0))

        assert rollup.call("count") == lying.batch_id

    def test_at_least_five_external_actors_can_submit_fraud_proofs(
        self, ledger: Ledger, l2: L2, rollup: Handle
    ) -> None:
        for number in range(5):
            before = RollupState.from_leaves(l2.state.items())
            lying = l2.post(CreateAccount(person(3)).encode(), lies={0: LIE})
            proven = l2.prove(lying.proof(0), key=stranger(ledger, number))
            assert proven.event("FraudProven")["batchId"] == lying.batch_id
            l2.state = before
            rollup.send("depositBond", value_wei=ETHER)

    def test_users_can_exit_without_the_operators_coordination(self, l2: L2, rollup: Handle, asset: Handle) -> None:
        end(l2)

        for number, key in ((1, KEYS[1]), (2, KEYS[2])):
            rollup.send("exitAccount", *exit_arguments(rebuilt(l2), number), key=key)

        assert asset.call("balanceOf", checksum(person(1))) == 1_000 * NANO
        assert asset.call("balanceOf", rollup.contract.address) == 0

    def test_users_have_at_least_seven_days_to_exit_unwanted_upgrades(
        self, ledger: Ledger, rollup: Handle, stf: Handle
    ) -> None:
        """There are no upgrades: no code of the rollup can run other code in its place, or go."""
        inbox = bytes.fromhex(rollup.call("inbox")[2:])
        for address in (rollup.address, stf.address, inbox):
            assert not set(opcodes(ledger.evm.code(address))) & {DELEGATECALL, CALLCODE, SELFDESTRUCT}

    def test_the_security_council_is_properly_set_up(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle]
    ) -> None:
        """There is none: who deployed the contracts is turned away like anyone else, by every function."""
        for key in (KEYS[0], KEYS[3]):
            assert ledger.evm.balance_wei(address_of(key)) > ETHER
        deployed = deploy_rollup(genesisRoot=GENESIS_ROOT)
        inbox = ledger.at(artifact("Inbox").abi, bytes.fromhex(deployed.call("inbox")[2:]))
        for contract, name in ((deployed, "Rollup"), (inbox, "Inbox")):
            as_deployer = refusals(ledger, contract, name, KEYS[0])
            as_stranger = refusals(ledger, contract, name, KEYS[3])
            assert as_deployer.keys() == as_stranger.keys()
            for function, refusal in as_deployer.items():
                if function != "commitFraud":  # whose commitment carries its sender
                    assert refusal[0] == as_stranger[function][0], function


class TestStage2:
    def test_fraud_proof_submission_is_open_to_everyone(self, ledger: Ledger, l2: L2) -> None:
        lying = l2.post(CreateAccount(person(3)).encode(), lies={0: LIE})

        proven = l2.prove(lying.proof(0), key=stranger(ledger, 9))

        reward = proven.event("BondSlashed")
        assert reward["prover"] == checksum(address_of(stranger(ledger, 9)))
        assert reward["toProver"] == ETHER // 2

    def test_users_have_at_least_thirty_days_to_exit_upgrades_unrelated_to_proven_bugs(self) -> None:
        """No function replaces code, parameters or the transition: there is none but what users and watchers need."""
        assert {entry["name"] for entry in changing_functions("Rollup")} == {
            "depositBond", "withdrawBond", "submitBatch", "finalize", "takeTurn", "commitFraud", "proveFraud",
            "claimReward", "freeze", "buyWithdrawal",
            "claimWithdrawal", "exitAccount", "exitChannel", "raiseChannelExit", "settleChannelExit", "refundDeposit",
        }  # fmt: skip
        assert {entry["name"] for entry in changing_functions("Inbox")} == {"deposit", "depositWithPermit", "forceTx"}
        assert changing_functions("Stf") == []

    def test_the_security_councils_actions_are_confined_to_bugs_proven_on_chain(self, l2: L2, rollup: Handle) -> None:
        """The only thing that takes a posted batch back is a proof, and nothing takes a final one back."""
        lying = l2.post(CreateAccount(person(3)).encode(), lies={0: LIE})
        l2.commit(lying.proof(0))
        l2.finalize(WINDOW_S)
        root = rollup.call("headRoot")
        l2.ledger.mine(conftest.REVEAL_BLOCKS)

        with pytest.raises(Reverted, match="NotChallengeable"):
            l2.reveal(lying.proof(0))

        assert rollup.call("headRoot") == root


class TestRiskRosette:
    def test_state_validation_fraud_proofs_ensure_state_correctness(self, l2: L2, rollup: Handle) -> None:
        """Money from nowhere is taken back with every batch behind it, before anybody is paid."""
        root, count = rollup.call("headRoot"), rollup.call("count")
        minted = l2.post(signed(l2, Withdraw(1, 900, 0, person(3)), 1), signed(l2, Withdraw(1, 900, 0, person(3)), 1))
        index = withdrawal_key(1)
        claim = ("claimWithdrawal", minted.batch_id, index, (checksum(person(3)), 900, 1, 2), l2.state.proof(index))
        with pytest.raises(Reverted, match="NotFinal"):
            rollup.send(*claim)

        l2.prove(minted.proof(1))

        assert (rollup.call("headRoot"), rollup.call("count")) == (root, count)
        assert rollup.call("bonds", checksum(person(0)))[0] == 0

    def test_data_availability_all_data_needed_for_proofs_is_on_l1(self, l2: L2) -> None:
        """Whoever reads nothing but L1's calldata and inbox proves what whoever made the batch would hide."""
        before = rebuilt(l2)
        l2.post(CreateAccount(person(3)).encode(), lies={0: LIE})
        posted = batches_in_calldata(l2)[-1]
        watcher = L2(l2.ledger, l2.rollup, l2.inbox)
        watcher.state = before
        batch = decode_batch(posted.blob)

        seen = watcher.build(batch.header, [frame.body for frame in batch.frames], {0: batch.frames[0].post_root})
        proof = seen.proof(0)

        l2.commit(_of(proof, posted.batch_id))
        l2.ledger.mine(conftest.REVEAL_BLOCKS)
        assert l2.reveal(_of(proof, posted.batch_id)).event("FraudProven")["batchId"] == posted.batch_id

    def test_exit_window_users_can_exit_for_ever_because_the_code_is_immutable(
        self, l2: L2, rollup: Handle, ledger: Ledger
    ) -> None:
        code = ledger.evm.code(rollup.address)
        end(l2)
        ledger.now_s += 10 * 365 * 86_400

        rollup.send("exitAccount", *exit_arguments(rebuilt(l2), 1), key=KEYS[1])

        assert ledger.evm.code(rollup.address) == code

    def test_sequencer_failure_users_force_transactions_through_l1(self, l2: L2, rollup: Handle) -> None:
        """No batch that leaves a forced withdrawal out stands; one that takes it in pays it."""
        l2.force(signed(l2, Withdraw(1, 300, 0, person(1)), 1))
        l2.ledger.now_s += FORCE_S + 1
        before = l2.state.meta.inbox_cursor
        with pytest.raises(Reverted, match="InboxIgnored"):
            l2.post(CreateAccount(person(3)).encode(), inbox_to=before)
        l2.state = rebuilt(l2)

        l2.post()

        leaf = l2.state.withdrawal(1)
        assert leaf is not None
        assert (leaf.recipient, leaf.amount_nano) == (person(1), 300)

    def test_proposer_failure_anyone_bonded_proposes_and_failing_that_everyone_leaves(
        self, ledger: Ledger, l2: L2, rollup: Handle
    ) -> None:
        key = stranger(ledger, 3)
        rollup.send("depositBond", key=key, value_wei=ETHER)
        l2.force(b"the leader is gone")
        with pytest.raises(Reverted, match="NotLeader"):
            l2.post(key=key)
        l2.state = rebuilt(l2)
        ledger.now_s += TAKEOVER_S + 1

        l2.post(key=key)

        assert rollup.call("leader") == "0x" + address_of(key).hex()
        end(l2)
        rollup.send("exitAccount", *exit_arguments(rebuilt(l2), 2), key=KEYS[2])


def _of(proof: Any, batch_id: int) -> Any:
    return replace(proof, batch_id=batch_id)
