"""Deposits arrive in order, with their money, and as hashes that anyone can recompute."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chain.l1.connection import checksum
from chain.signing import keccak256
from tests.chain.contracts.conftest import FREEZE_S, NANO, person
from tests.chain.contracts.harness import KEYS, START_S, Handle, Ledger, Reverted
from tests.chain.contracts.test_test_usd import permit_of

ALICE, BOB = checksum(person(0)), checksum(person(1))


def test_a_deposit_moves_the_money_into_the_rollup(rollup: Handle, inbox: Handle, asset: Handle) -> None:
    sent = inbox.send("deposit", BOB, 7, 5 * NANO)

    assert sent.event("Deposited") == {
        "index": 0, "owner": BOB, "sender": ALICE, "indexHint": 7, "amountNano": 5 * NANO, "timestamp": START_S,
    }  # fmt: skip
    assert asset.call("balanceOf", rollup.contract.address) == 5 * NANO * NANO
    assert asset.call("balanceOf", inbox.contract.address) == 0


def test_messages_keep_their_order_hash_time_and_block(inbox: Handle, ledger: Ledger) -> None:
    inbox.send("deposit", BOB, 7, 1)
    ledger.now_s += 9
    inbox.send("deposit", ALICE, 0, 2)

    first, second = inbox.call("messages", 0, 10)
    contents = [
        b"\x01" + owner + hint.to_bytes(4, "big") + amount.to_bytes(8, "big")
        for owner, hint, amount in ((person(1), 7, 1), (person(0), 0, 2))
    ]
    assert first[0] == keccak256(bytes(32) + keccak256(contents[0]))
    assert second[:2] == (keccak256(first[0] + keccak256(contents[1])), START_S + 9)
    assert inbox.call("depositHash", ALICE, 0, 2) == keccak256(contents[1])
    assert [inbox.call("hashOf", length) for length in (0, 1, 2)] == [bytes(32), first[0], second[0]]
    with pytest.raises(Reverted, match="NoSuchMessages"):
        inbox.call("hashOf", 3)
    assert second[3] == 1
    assert first[2] + 1 == second[2]
    assert inbox.call("length") == 2


@pytest.mark.parametrize(
    ("start", "limit", "expected"), [(0, 2, 2), (2, 5, 1), (3, 5, 0), (2**200, 2**255, 0), (0, 0, 0)]
)
def test_pages_of_messages_end_where_the_inbox_does(inbox: Handle, start: int, limit: int, expected: int) -> None:
    for amount in (1, 2, 3):
        inbox.send("deposit", BOB, 0, amount)

    assert len(inbox.call("messages", start, limit)) == expected


def test_a_deposit_of_nothing_is_refused(inbox: Handle) -> None:
    with pytest.raises(Reverted, match="ZeroAmount"):
        inbox.send("deposit", BOB, 0, 0)


def test_a_deposit_of_more_than_an_amount_can_say_is_refused_and_takes_nothing(
    inbox: Handle, asset: Handle, ledger: Ledger
) -> None:
    right = inbox.encode("deposit", BOB, 0, 5)
    over = right[:-32] + (2**64 + 5).to_bytes(32, "big")
    before = asset.call("balanceOf", checksum(person(0)))

    mined = ledger.transact_unchecked(KEYS[0], inbox.address, over)

    assert mined.receipt.state_root == b""
    assert asset.call("balanceOf", checksum(person(0))) == before
    assert inbox.call("length") == 0
    ledger.transact(KEYS[0], inbox.address, right)
    assert inbox.call("length") == 1


def test_a_deposit_for_nobody_is_refused(inbox: Handle) -> None:
    with pytest.raises(Reverted, match="ZeroOwner"):
        inbox.send("deposit", "0x" + "00" * 20, 0, 1)


def test_a_deposit_without_the_money_changes_nothing(inbox: Handle) -> None:
    with pytest.raises(Reverted, match="AssetTransferFailed"):
        inbox.send("deposit", BOB, 0, 1_001 * NANO)

    assert inbox.call("length") == 0


@pytest.mark.parametrize(("mode", "accepted"), [(0, True), (1, False), (2, True), (3, False), (4, False), (5, False)])
def test_a_deposit_counts_only_what_really_arrived(
    ledger: Ledger, odd: Callable[..., Handle], deploy_rollup: Callable[..., Handle], mode: int, accepted: bool
) -> None:
    token = odd("OddToken", 18)
    rollup = deploy_rollup(token)
    odd_inbox = ledger.at(_inbox_abi(), bytes.fromhex(rollup.call("inbox")[2:]))
    token.send("mint", ALICE, 10 * NANO)
    token.send("set", mode)

    if accepted:
        odd_inbox.send("deposit", BOB, 0, 10)
        assert token.call("balanceOf", rollup.contract.address) == 10 * NANO
    else:
        with pytest.raises(Reverted, match="AssetTransferFailed"):
            odd_inbox.send("deposit", BOB, 0, 10)


@pytest.mark.parametrize(("decimals", "units"), [(9, 1), (12, 1_000), (27, 10**18)])
def test_other_decimals_scale_a_nano(
    odd: Callable[..., Handle], deploy_rollup: Callable[..., Handle], decimals: int, units: int
) -> None:
    token = odd("OddToken", decimals)
    rollup = deploy_rollup(token)

    assert (rollup.call("unitsPerNano"), rollup.call("nanoPerUnit")) == (units, 1)


@pytest.mark.parametrize(("decimals", "nano"), [(6, 1_000), (8, 10)])
def test_a_unit_may_be_worth_several_nano(
    ledger: Ledger, odd: Callable[..., Handle], deploy_rollup: Callable[..., Handle], decimals: int, nano: int
) -> None:
    token = odd("OddToken", decimals)
    rollup = deploy_rollup(token)
    odd_inbox = ledger.at(_inbox_abi(), bytes.fromhex(rollup.call("inbox")[2:]))
    token.send("mint", ALICE, 10)

    odd_inbox.send("deposit", BOB, 0, 3 * nano)
    with pytest.raises(Reverted) as refused:
        odd_inbox.send("deposit", BOB, 0, nano + 1)

    assert (rollup.call("unitsPerNano"), rollup.call("nanoPerUnit")) == (1, nano)
    assert (refused.value.name, refused.value.arguments) == ("NotWholeUnits", (nano,))
    assert token.call("balanceOf", rollup.contract.address) == 3


@pytest.mark.parametrize("decimals", [0, 5, 28, 255])
def test_decimals_that_money_cannot_be_kept_in_are_refused(
    odd: Callable[..., Handle], deploy_rollup: Callable[..., Handle], decimals: int
) -> None:
    token = odd("OddToken", decimals)

    with pytest.raises(Reverted, match="UnsupportedDecimals"):
        deploy_rollup(token)


class TestPermits:
    def test_a_deposit_with_a_permit_needs_no_approval(self, inbox: Handle, asset: Handle, ledger: Ledger) -> None:
        asset.send("mint", checksum(person(1)), 10 * NANO)
        deadline = ledger.now_s + 60
        signature = permit_of(asset, KEYS[1], inbox.contract.address, 10 * NANO, 0, deadline)

        sent = inbox.send("depositWithPermit", BOB, 7, 10, deadline, *signature, key=KEYS[1])

        assert sent.event("Deposited")["amountNano"] == 10
        assert asset.call("allowance", checksum(person(1)), inbox.contract.address) == 0

    def test_a_permit_that_somebody_sent_first_still_pays(self, inbox: Handle, asset: Handle, ledger: Ledger) -> None:
        payer, spender, deadline = checksum(person(1)), inbox.contract.address, ledger.now_s + 60
        asset.send("mint", payer, 10 * NANO)
        signature = permit_of(asset, KEYS[1], spender, 10 * NANO, 0, deadline)
        asset.send("permit", payer, spender, 10 * NANO, deadline, *signature, key=KEYS[2])

        inbox.send("depositWithPermit", BOB, 7, 10, deadline, *signature, key=KEYS[1])

        assert inbox.call("length") == 1

    def test_a_used_permit_moves_nothing(self, inbox: Handle, asset: Handle, ledger: Ledger) -> None:
        asset.send("mint", checksum(person(1)), 20 * NANO)
        deadline = ledger.now_s + 60
        signature = permit_of(asset, KEYS[1], inbox.contract.address, 10 * NANO, 0, deadline)
        inbox.send("depositWithPermit", BOB, 7, 10, deadline, *signature, key=KEYS[1])

        with pytest.raises(Reverted, match="AssetTransferFailed"):
            inbox.send("depositWithPermit", BOB, 7, 10, deadline, *signature, key=KEYS[1])


class TestForcedTransactions:
    def test_a_forced_transaction_joins_the_same_order_with_its_body_in_the_event(
        self, inbox: Handle, ledger: Ledger
    ) -> None:
        inbox.send("deposit", BOB, 7, 1)
        ledger.now_s += 3

        sent = inbox.send("forceTx", b"some transaction", key=KEYS[1])

        assert sent.event("Forced") == {
            "index": 1, "sender": BOB, "body": b"some transaction", "timestamp": START_S + 3,
        }  # fmt: skip
        content = keccak256(b"\x02some transaction")
        before, record = inbox.call("messages", 0, 2)
        assert (record[0], record[1], record[3]) == (keccak256(before[0] + content), START_S + 3, 2)
        assert inbox.call("forcedHash", b"some transaction") == content
        assert [inbox.call("arrivedAt", index) for index in (0, 1, 2)] == [START_S, START_S + 3, 0]

    @pytest.mark.parametrize(("size", "is_taken"), [(0, False), (1, True), (288, True), (289, False)])
    def test_only_what_fits_a_proof_is_taken(self, inbox: Handle, size: int, is_taken: bool) -> None:
        if is_taken:
            inbox.send("forceTx", bytes(size))
            return
        with pytest.raises(Reverted) as refused:
            inbox.send("forceTx", bytes(size))
        assert (refused.value.name, refused.value.arguments) == ("WrongBodyLength", (size,))

    def test_nothing_arrives_after_a_freeze(self, rollup: Handle, inbox: Handle, asset: Handle, ledger: Ledger) -> None:
        inbox.send("forceTx", b"ignored")
        ledger.now_s += FREEZE_S + 1
        rollup.send("freeze")

        for call in (("deposit", BOB, 0, 1), ("forceTx", b"too late")):
            with pytest.raises(Reverted, match="RollupFrozen"):
                inbox.send(*call)
        assert inbox.call("length") == 1
        assert asset.call("balanceOf", rollup.contract.address) == 0


class TestContents:
    """What a fraud proof claims about messages is held against their hashes, byte for byte."""

    @pytest.fixture
    def contents(self, inbox: Handle, ledger: Ledger) -> list[bytes]:
        inbox.send("deposit", BOB, 7, 5)
        ledger.now_s += 1
        inbox.send("forceTx", b"f" * 288)
        inbox.send("forceTx", b"g")
        at = [(START_S + late).to_bytes(8, "big") for late in (0, 1, 1)]
        return [
            b"\x01" + at[0] + person(1) + (7).to_bytes(4, "big") + (5).to_bytes(8, "big"),
            b"\x02" + at[1] + b"\x01\x20" + b"f" * 288,
            b"\x02" + at[2] + b"\x00\x01g",
        ]

    def test_the_true_contents_are_held(self, inbox: Handle, contents: list[bytes]) -> None:
        assert inbox.call("holds", 0, 3, b"".join(contents))
        assert inbox.call("holds", 1, 1, contents[1])
        assert inbox.call("holds", 3, 0, b"")

    def test_any_other_byte_is_not(self, inbox: Handle, contents: list[bytes]) -> None:
        packed = b"".join(contents)
        for place in (0, 9, 28, 29, 32, 33, 40, 41, 50, 51, 178, 179, len(packed) - 1):
            changed = bytearray(packed)
            changed[place] ^= 1
            assert not inbox.call("holds", 0, 3, bytes(changed)), place

    def test_the_seconds_are_nobodys_business(self, inbox: Handle, contents: list[bytes]) -> None:
        """Nothing on L2 depends on them, and checking them would cost a proof 2,100 gas a message."""
        packed = bytearray(b"".join(contents))
        packed[1:9], packed[42:50] = bytes(8), b"\xff" * 8

        assert inbox.call("holds", 0, 3, bytes(packed))

    def test_nor_is_too_little_too_much_or_what_never_arrived(self, inbox: Handle, contents: list[bytes]) -> None:
        packed = b"".join(contents)
        for size in (0, 8, 9, 10, 40, 41, 50, 51, len(packed) - 1):
            assert not inbox.call("holds", 0, 3, packed[:size]), size
        assert not inbox.call("holds", 0, 3, packed + b"\0")
        assert not inbox.call("holds", 0, 4, packed)
        assert not inbox.call("holds", 1, 2, packed)


def _inbox_abi() -> list[object]:
    from chain.l1.artifacts import artifact

    return list(artifact("Inbox").abi)
