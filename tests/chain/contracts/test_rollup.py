"""Batches, finality, bonds and claims, on a real EVM: every rule and every custom error."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account

from chain.codec import FRAME_HEAD_BYTES, HEADER_BYTES, MAX_BLOB_BYTES, MAX_BODY_BYTES, BatchHeader, Frame, encode_batch
from chain.eip712 import SigningDomain
from chain.l1.connection import checksum
from chain.l1.protocol import EMPTY_INBOX_HASH
from chain.signing import keccak256
from chain.tree import Tree
from chain.types import Withdrawal, withdrawal_key
from tests.chain.contracts.conftest import (
    AHEAD_S,
    FORCE_S,
    GENESIS,
    NANO,
    WINDOW_S,
    inbox_hash,
    person,
    rollup_parameters,
)
from tests.chain.contracts.harness import CHAIN_ID, KEYS, START_S, Handle, Ledger, Reverted

ETHER = 10**18
ALICE, BOB = checksum(person(0)), checksum(person(1))


def blob(
    *, l2_time_s: int = START_S, inbox_to: int = 0, root: bytes | None = None, bodies: tuple[bytes, ...] = (b"tx",)
) -> tuple[bytes, bytes]:
    """A batch and the root after it."""
    frames = [Frame(post_root=root or secrets.token_bytes(32), body=body) for body in bodies]
    return encode_batch(BatchHeader(l2_time_s=l2_time_s, inbox_to=inbox_to), frames), frames[-1].post_root


def post(rollup: Handle, root: bytes | None = None, **fields: Any) -> bytes:
    """Post the next batch; returns the root after it."""
    data, post_root = blob(root=root, **fields)
    end = inbox_hash(rollup, fields.get("inbox_to", 0))
    rollup.send("submitBatch", rollup.call("count"), rollup.call("headRoot"), end, data)
    return post_root


def _withdrawal(amount_nano: int) -> Withdrawal:
    return Withdrawal(recipient=person(1), amount_nano=amount_nano, account=7, nonce=2**64 - 1)


def withdrawal_tree(*amounts_nano: int) -> Tree:
    tree = Tree()
    for number, amount in enumerate(amounts_nano):
        tree.set(withdrawal_key(number), keccak256(_withdrawal(amount).encode()))
    return tree


class TestDeployment:
    def test_it_keeps_what_it_was_deployed_with(self, rollup: Handle, asset: Handle) -> None:
        names = (
            "challengeWindow",
            "forceDelay",
            "closeDelay",
            "l2ChainId",
            "genesisRoot",
            "headRoot",
            "count",
            "finalCount",
        )

        assert [rollup.call(name) for name in names] == [WINDOW_S, 20, 90, 31_338, GENESIS, GENESIS, 0, 0]
        assert rollup.call("asset") == asset.contract.address.lower()

    def test_its_signing_domain_is_the_one_wallets_sign_for(self, rollup: Handle) -> None:
        salt = rollup.call("deploymentSalt")

        assert rollup.call("domainSeparator") == SigningDomain(CHAIN_ID, rollup.address, salt).separator

    def test_its_salt_is_the_hash_of_the_block_before_its_own(self, ledger: Ledger, asset: Handle, stf: Handle) -> None:
        before = ledger.evm.head().hash

        assert ledger.deploy("Rollup", rollup_parameters(asset, stf)).call("deploymentSalt") == before

    def test_it_and_its_parts_tell_one_version(self, rollup: Handle, inbox: Handle, stf: Handle) -> None:
        versions = {contract.call("version") for contract in (rollup, inbox, stf)}

        assert len(versions) == 1
        assert re.fullmatch(r"\d+\.\d+\.\d+", versions.pop())

    def test_its_limits_are_the_codecs(self, rollup: Handle) -> None:
        assert rollup.call("MAX_BLOB_BYTES") == MAX_BLOB_BYTES


class TestSubmission:
    def test_a_batch_is_recorded_with_everything_a_proof_needs(self, rollup: Handle) -> None:
        frames = [Frame(post_root=bytes([i]) * 32, body=bytes([i]) * 10) for i in (1, 2)]
        data = encode_batch(BatchHeader(l2_time_s=START_S - 3, inbox_to=0), frames)

        sent = rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

        frames_root = keccak256(frames[0].leaf() + frames[1].leaf())
        assert sent.event("BatchSubmitted") == {
            "id": 0, "submitter": ALICE, "prevRoot": GENESIS, "postRoot": b"\x02" * 32, "framesRoot": frames_root,
            "frameCount": 2, "l2Time": START_S - 3, "inboxTo": 0,
        }  # fmt: skip
        record = rollup.call("batch", 0)
        assert record[:7] == (frames_root, b"\x02" * 32, ALICE.lower(), START_S, 2, START_S - 3, 0)
        assert rollup.call("batches", 0, 9) == (record,)
        assert (rollup.call("count"), rollup.call("headRoot")) == (1, b"\x02" * 32)

    @pytest.mark.parametrize("batch_id", [1, 2**256 - 1])
    def test_an_id_out_of_order_is_refused(self, rollup: Handle, batch_id: int) -> None:
        with pytest.raises(Reverted) as refused:
            rollup.send("submitBatch", batch_id, GENESIS, EMPTY_INBOX_HASH, blob()[0])

        assert (refused.value.name, refused.value.arguments) == ("WrongBatchId", (0,))

    def test_a_batch_is_not_posted_twice(self, rollup: Handle) -> None:
        data, _ = blob()
        rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

        with pytest.raises(Reverted, match="WrongBatchId"):
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

    def test_a_batch_for_another_history_is_refused(self, rollup: Handle) -> None:
        with pytest.raises(Reverted) as refused:
            rollup.send("submitBatch", 0, bytes(32), EMPTY_INBOX_HASH, blob()[0])

        assert (refused.value.name, refused.value.arguments) == ("WrongPreviousRoot", (GENESIS,))

    def test_a_sender_without_bond_is_refused(self, rollup: Handle) -> None:
        rollup.send("depositBond", key=KEYS[1], value_wei=ETHER - 1)

        with pytest.raises(Reverted) as refused:
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, blob()[0], key=KEYS[1])

        assert (refused.value.name, refused.value.arguments) == ("BondTooSmall", (ETHER - 1,))

    def test_anyone_with_a_bond_may_post(self, rollup: Handle) -> None:
        rollup.send("depositBond", key=KEYS[1], value_wei=ETHER)

        rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, blob()[0], key=KEYS[1])

        assert rollup.call("batch", 0)[2] == BOB.lower()

    def test_a_blob_of_the_greatest_length_fits_and_one_byte_more_does_not(self, rollup: Handle) -> None:
        full, rest = divmod(MAX_BLOB_BYTES - HEADER_BYTES, FRAME_HEAD_BYTES + MAX_BODY_BYTES)
        data, _ = blob(bodies=(*[bytes(MAX_BODY_BYTES)] * full, bytes(rest - FRAME_HEAD_BYTES)))
        assert len(data) == MAX_BLOB_BYTES

        with pytest.raises(Reverted, match="BlobTooLong"):
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data + b"\0")
        rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

    @pytest.mark.parametrize(
        ("data", "error"),
        [(b"", "Truncated"), (b"\x01" + bytes(15), "Truncated"), (b"\x02" + bytes(16), "UnknownVersion"),
         (b"\x01" + bytes(16), "NoFrames"), (b"\x01" + bytes(49), "Truncated")],
    )  # fmt: skip
    def test_a_malformed_blob_is_refused(self, rollup: Handle, data: bytes, error: str) -> None:
        with pytest.raises(Reverted, match=error):
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

    def test_a_frame_that_would_cost_too_much_to_disprove_is_refused(self, rollup: Handle) -> None:
        data, _ = blob(bodies=(b"tx", bytes(MAX_BODY_BYTES)))
        length = (MAX_BODY_BYTES + 1).to_bytes(2, "big")

        with pytest.raises(Reverted) as refused:
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data[:53] + length + data[55:] + b"\0")

        assert (refused.value.name, refused.value.arguments) == ("FrameTooLong", (1,))
        rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

    def test_l2_time_never_runs_backwards(self, rollup: Handle) -> None:
        post(rollup, l2_time_s=START_S)
        post(rollup, l2_time_s=START_S)

        with pytest.raises(Reverted, match="L2TimeBackwards"):
            post(rollup, l2_time_s=START_S - 1)

    def test_l2_time_runs_ahead_by_no_more_than_it_may(self, rollup: Handle) -> None:
        with pytest.raises(Reverted, match="L2TimeAhead"):
            post(rollup, l2_time_s=START_S + AHEAD_S + 1)

        post(rollup, l2_time_s=START_S + AHEAD_S)

    def test_l2_time_lags_by_the_force_delay_at_most(self, ledger: Ledger, rollup: Handle) -> None:
        ledger.now_s = START_S + FORCE_S + 10
        now_s = ledger.now_s

        with pytest.raises(Reverted, match="L2TimeBehind"):
            post(rollup, l2_time_s=now_s - FORCE_S - 1)

        post(rollup, l2_time_s=now_s - FORCE_S)

    def test_the_inbox_is_never_unread(self, rollup: Handle, inbox: Handle) -> None:
        inbox.send("deposit", BOB, 0, 5)
        inbox.send("deposit", BOB, 0, 5)
        post(rollup, inbox_to=2)

        with pytest.raises(Reverted, match="InboxBackwards"):
            post(rollup, inbox_to=1)

    def test_messages_that_never_arrived_are_not_executed(self, rollup: Handle, inbox: Handle) -> None:
        inbox.send("deposit", BOB, 0, 5)

        with pytest.raises(Reverted) as refused:
            post(rollup, inbox_to=2)

        assert (refused.value.name, refused.value.arguments) == ("InboxBeyondEnd", (1,))

    def test_a_batch_lands_on_the_messages_that_it_names_and_on_no_others(self, rollup: Handle, inbox: Handle) -> None:
        inbox.send("deposit", BOB, 0, 5)
        data, _ = blob(inbox_to=1)
        meant = keccak256(bytes(32) + inbox.call("depositHash", BOB, 0, 6))

        with pytest.raises(Reverted) as refused:
            rollup.send("submitBatch", 0, GENESIS, meant, data)

        assert (refused.value.name, refused.value.arguments) == ("WrongInboxHash", (inbox.call("hashOf", 1),))
        rollup.send("submitBatch", 0, GENESIS, inbox.call("hashOf", 1), data)

    def test_a_batch_without_messages_names_those_of_the_batches_before_it(self, rollup: Handle, inbox: Handle) -> None:
        inbox.send("deposit", BOB, 0, 5)
        post(rollup, inbox_to=1)
        data, _ = blob(inbox_to=1)

        with pytest.raises(Reverted, match="WrongInboxHash"):
            rollup.send("submitBatch", 1, rollup.call("headRoot"), EMPTY_INBOX_HASH, data)
        post(rollup, inbox_to=1)

    @pytest.mark.parametrize(
        "strange",
        [
            lambda data: data[:-1] + b"\1",
            lambda data: data[:-1],
            lambda data: data[:-11],
            lambda data: data + b"\0",
            lambda data: data + bytes(32),
            lambda data: data[:100] + (160).to_bytes(32, "big") + bytes(32) + data[132:],
        ],
        ids=["dirty padding", "short padding", "no padding", "a byte more", "a word more", "a gap"],
    )
    def test_only_canonical_calldata_is_taken(
        self, ledger: Ledger, rollup: Handle, strange: Callable[[bytes], bytes]
    ) -> None:
        calldata = rollup.encode("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, blob(bodies=(b"tx",))[0])
        assert calldata.endswith(b"tx" + bytes(11))

        with pytest.raises(Reverted, match="NotCanonical"):
            ledger.transact(KEYS[0], rollup.address, strange(calldata))

        ledger.transact(KEYS[0], rollup.address, calldata)
        assert rollup.call("count") == 1

    def test_a_contract_may_not_post_since_it_could_hide_the_data(
        self, rollup: Handle, odd: Callable[..., Handle]
    ) -> None:
        forwarder = odd("Forwarder")
        calldata = rollup.encode("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, blob()[0])

        with pytest.raises(Reverted, match="NotSentDirectly"):
            forwarder.send("forward", rollup.contract.address, calldata)

    def test_a_delegated_account_may_not_post_either(
        self, ledger: Ledger, rollup: Handle, odd: Callable[..., Handle]
    ) -> None:
        forwarder = odd("Forwarder")
        nonce = ledger.evm.nonce(person(0))
        authorization = {"chainId": CHAIN_ID, "address": forwarder.contract.address, "nonce": nonce + 1}
        signed = Account.from_key(KEYS[0]).sign_authorization(authorization)
        ledger.transact(KEYS[0], person(1), b"", authorizationList=[signed])
        assert ledger.evm.code(person(0)).startswith(bytes.fromhex("ef0100"))

        with pytest.raises(Reverted, match="NotSentDirectly"):
            rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, blob()[0])

    def test_a_thousand_transfers_cost_what_their_calldata_costs(self, rollup: Handle) -> None:
        """89 bytes and little more than EIP-7623's floor for each: execution is not what limits a batch."""
        transfers = [_transfer_like() for _ in range(1_000)]
        bodies = tuple(b"".join(transfers[i : i + 8]) for i in range(0, 1_000, 8))
        data, _ = blob(bodies=bodies)

        sent = rollup.send("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)

        calldata = rollup.encode("submitBatch", 0, GENESIS, EMPTY_INBOX_HASH, data)
        floor = 21_000 + 10 * (calldata.count(0) + 4 * (len(calldata) - calldata.count(0)))
        print(f"1,000 transfers: {len(data) / 1000:.1f} bytes and {sent.gas_used / 1000:.0f} gas each; floor {floor}")
        assert sent.gas_used == floor


class TestFinality:
    def test_a_batch_becomes_final_when_its_window_ends_and_not_before(self, ledger: Ledger, rollup: Handle) -> None:
        root = post(rollup)
        ledger.now_s += WINDOW_S - 1
        assert rollup.call("finalizable", 10) == 0
        with pytest.raises(Reverted) as refused:
            rollup.send("finalize", 1, key=KEYS[2])
        assert (refused.value.name, refused.value.arguments) == ("WindowOpen", (START_S + WINDOW_S,))

        ledger.now_s += 1

        assert rollup.call("finalizable", 10) == 1
        assert rollup.send("finalize", 1, key=KEYS[2]).event("Finalized") == {"count": 1, "root": root}
        assert rollup.call("finalCount") == 1

    def test_only_batches_past_their_window_are_finalizable(self, ledger: Ledger, rollup: Handle) -> None:
        for _ in range(3):
            post(rollup)
        ledger.now_s += WINDOW_S
        post(rollup, l2_time_s=ledger.now_s)

        assert [rollup.call("finalizable", limit) for limit in (0, 2, 3, 10)] == [0, 2, 3, 3]
        with pytest.raises(Reverted, match="WindowOpen"):
            rollup.send("finalize", 4)
        rollup.send("finalize", 3)
        assert rollup.call("finalizable", 10) == 3

    @pytest.mark.parametrize("up_to", [0, 1, 2**256 - 1])
    def test_there_is_nothing_to_finalize_twice_or_ahead(self, ledger: Ledger, rollup: Handle, up_to: int) -> None:
        post(rollup)
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 1)

        with pytest.raises(Reverted, match="NothingToFinalize"):
            rollup.send("finalize", up_to)

    def test_a_batch_that_does_not_stand_cannot_be_read(self, rollup: Handle) -> None:
        post(rollup)

        with pytest.raises(Reverted, match="NoSuchBatch"):
            rollup.call("batch", 1)
        assert rollup.call("batches", 1, 5) == ()
        assert len(rollup.call("batches", 0, 0)) == 0


class TestClaims:
    @pytest.fixture
    def tree(self, ledger: Ledger, rollup: Handle, inbox: Handle) -> Tree:
        """Three withdrawals in a final batch, and the money behind them."""
        tree = withdrawal_tree(3 * NANO, 4 * NANO, 0)
        inbox.send("deposit", BOB, 0, 7 * NANO)
        post(rollup, tree.root(), inbox_to=1)
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 1)
        return tree

    def claim(self, rollup: Handle, tree: Tree, number: int, amount_nano: int, **changes: Any) -> Any:
        fields = {
            "batch": 0,
            "index": withdrawal_key(number),
            "to": BOB,
            "account": 7,
            "nonce": 2**64 - 1,
            "siblings": tree.proof(withdrawal_key(number)),
        }
        fields |= changes
        leaf = (fields["to"], amount_nano, fields["account"], fields["nonce"])
        arguments = (fields["batch"], fields["index"], leaf, fields["siblings"])
        return rollup.send("claimWithdrawal", *arguments, key=KEYS[2])

    def test_anyone_may_claim_and_the_recipient_is_paid(self, rollup: Handle, asset: Handle, tree: Tree) -> None:
        sent = self.claim(rollup, tree, 1, 4 * NANO)

        assert sent.event("WithdrawalClaimed") == {
            "index": withdrawal_key(1), "recipient": BOB, "amountNano": 4 * NANO, "batchId": 0,
        }  # fmt: skip
        assert asset.call("balanceOf", BOB) == 4 * NANO * NANO
        assert asset.call("balanceOf", rollup.contract.address) == 3 * NANO * NANO
        assert [rollup.call("claimed", withdrawal_key(i)) for i in (0, 1)] == [False, True]

    def test_a_withdrawal_pays_once(self, rollup: Handle, asset: Handle, tree: Tree) -> None:
        self.claim(rollup, tree, 0, 3 * NANO)

        with pytest.raises(Reverted, match="AlreadyClaimed"):
            self.claim(rollup, tree, 0, 3 * NANO)
        assert asset.call("balanceOf", BOB) == 3 * NANO * NANO

    def test_a_withdrawal_pays_once_across_batches(self, ledger: Ledger, rollup: Handle, tree: Tree) -> None:
        post(rollup, tree.root(), l2_time_s=ledger.now_s, inbox_to=1)
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 2)
        self.claim(rollup, tree, 0, 3 * NANO, batch=1)

        with pytest.raises(Reverted, match="AlreadyClaimed"):
            self.claim(rollup, tree, 0, 3 * NANO, batch=0)

    @pytest.mark.parametrize(
        "change", [{"to": ALICE}, {"index": withdrawal_key(1)}, {"amount": 4 * NANO}, {"sibling": 0}, {"sibling": 31}]
    )
    def test_a_proof_of_anything_else_is_refused(self, rollup: Handle, tree: Tree, change: dict[str, Any]) -> None:
        change, siblings = dict(change), tree.proof(withdrawal_key(0))
        if "sibling" in change:
            siblings[change.pop("sibling")] = b"\x01" * 32

        with pytest.raises(Reverted, match="WrongProof"):
            self.claim(rollup, tree, 0, change.pop("amount", 3 * NANO), siblings=siblings, **change)

    @pytest.mark.parametrize("index", [0, 0x7FFFFFFF, 0xC0000000, 0xFFFFFFFF])
    def test_only_the_withdrawals_region_can_be_claimed(self, rollup: Handle, tree: Tree, index: int) -> None:
        with pytest.raises(Reverted, match="NotAWithdrawal"):
            self.claim(rollup, tree, 0, 3 * NANO, index=index)

    def test_a_batch_that_is_not_final_pays_nothing(self, ledger: Ledger, rollup: Handle, tree: Tree) -> None:
        post(rollup, tree.root(), l2_time_s=ledger.now_s, inbox_to=1)

        with pytest.raises(Reverted) as refused:
            self.claim(rollup, tree, 0, 3 * NANO, batch=1)

        assert (refused.value.name, refused.value.arguments) == ("NotFinal", (1,))

    def test_a_batch_that_does_not_exist_pays_nothing(self, rollup: Handle, tree: Tree) -> None:
        with pytest.raises(Reverted, match="NotFinal"):
            self.claim(rollup, tree, 0, 3 * NANO, batch=2**200)

    def test_more_than_the_rollup_holds_is_not_paid_and_stays_claimable(
        self, ledger: Ledger, rollup: Handle, asset: Handle
    ) -> None:
        tree = withdrawal_tree(1)
        post(rollup, tree.root())
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 1)

        with pytest.raises(Reverted, match="AssetTransferFailed"):
            self.claim(rollup, tree, 0, 1)
        asset.send("mint", rollup.contract.address, NANO)
        self.claim(rollup, tree, 0, 1)


class TestBonds:
    def test_a_bond_adds_up(self, rollup: Handle) -> None:
        sent = rollup.send("depositBond", value_wei=5)

        assert sent.event("BondDeposited") == {"sequencer": ALICE, "amount": 5, "total": ETHER + 5}
        assert rollup.call("bonds", ALICE) == (ETHER + 5, 0, 0, 1)

    def test_an_idle_bond_comes_back_whole(self, ledger: Ledger, rollup: Handle) -> None:
        before = ledger.evm.balance_wei(rollup.address)
        ledger.now_s += WINDOW_S

        assert rollup.send("withdrawBond").event("BondWithdrawn") == {"sequencer": ALICE, "amount": ETHER}

        assert before - ledger.evm.balance_wei(rollup.address) == ETHER
        with pytest.raises(Reverted, match="NoBond"):
            rollup.send("withdrawBond")

    def test_a_bond_answers_for_its_last_batch_until_that_is_final(self, ledger: Ledger, rollup: Handle) -> None:
        post(rollup)
        post(rollup)
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 1)
        with pytest.raises(Reverted) as refused:
            rollup.send("withdrawBond")
        assert (refused.value.name, refused.value.arguments) == ("BondLocked", (2,))

        rollup.send("finalize", 2)

        rollup.send("withdrawBond")

    def test_a_sequencer_that_refuses_its_ether_keeps_its_bond(
        self, ledger: Ledger, rollup: Handle, odd: Callable[..., Handle]
    ) -> None:
        stubborn = odd("RefusesEther")
        stubborn.send("forward", rollup.contract.address, rollup.encode("depositBond"), value_wei=ETHER)
        ledger.now_s += WINDOW_S

        with pytest.raises(Reverted, match="EtherRefused"):
            stubborn.send("forward", rollup.contract.address, rollup.encode("withdrawBond"))

        assert rollup.call("bonds", stubborn.contract.address) == (ETHER, 0, 0, 2)


def _transfer_like() -> bytes:
    """85 bytes with the zeros that small indices and amounts have: type, from4, to4, amount8, fee4, signature."""
    small = b"\0\0" + secrets.token_bytes(2) + b"\0\0" + secrets.token_bytes(2)
    return b"\x02" + small + b"\0\0\0\0" + secrets.token_bytes(4) + b"\0\0\x03\xe8" + secrets.token_bytes(64)
