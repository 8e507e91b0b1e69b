"""Deposits arrive in order, with their money, and as hashes that anyone can recompute."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chain.l1.connection import checksum
from chain.signing import keccak256
from tests.chain.contracts.conftest import GENESIS, NANO, person
from tests.chain.contracts.harness import START_S, Handle, Ledger, Reverted

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
    owner_and_rest = person(0) + (0).to_bytes(4, "big") + (2).to_bytes(8, "big")
    content = b"\x01" + (1).to_bytes(8, "big") + (START_S + 9).to_bytes(8, "big") + owner_and_rest
    assert second[:2] == (keccak256(content), START_S + 9)
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


def test_a_deposit_for_nobody_is_refused(inbox: Handle) -> None:
    with pytest.raises(Reverted, match="ZeroOwner"):
        inbox.send("deposit", "0x" + "00" * 20, 0, 1)


def test_a_deposit_without_the_money_changes_nothing(inbox: Handle) -> None:
    with pytest.raises(Reverted, match="AssetTransferFailed"):
        inbox.send("deposit", BOB, 0, 1_001 * NANO)

    assert inbox.call("length") == 0


@pytest.mark.parametrize(("mode", "accepted"), [(0, True), (1, False), (2, True), (3, False), (4, False), (5, False)])
def test_a_deposit_counts_only_what_really_arrived(
    ledger: Ledger, odd: Callable[..., Handle], mode: int, accepted: bool
) -> None:
    token = odd("OddToken", 18)
    rollup = ledger.deploy("Rollup", token.contract.address, GENESIS, 60, 20, 30, 1)
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
def test_other_decimals_scale_a_nano(ledger: Ledger, odd: Callable[..., Handle], decimals: int, units: int) -> None:
    token = odd("OddToken", decimals)
    rollup = ledger.deploy("Rollup", token.contract.address, GENESIS, 60, 20, 30, 1)

    assert rollup.call("unitsPerNano") == units


@pytest.mark.parametrize("decimals", [0, 6, 8, 28, 255])
def test_decimals_without_a_whole_nano_are_refused(ledger: Ledger, odd: Callable[..., Handle], decimals: int) -> None:
    token = odd("OddToken", decimals)

    with pytest.raises(Reverted, match="UnsupportedDecimals"):
        ledger.deploy("Rollup", token.contract.address, GENESIS, 60, 20, 30, 1)


def _inbox_abi() -> list[object]:
    from chain.l1.artifacts import artifact

    return list(artifact("Inbox").abi)
