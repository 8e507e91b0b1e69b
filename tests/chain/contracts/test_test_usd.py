"""The development token is an ordinary ERC-20 that anyone may mint."""

from __future__ import annotations

import pytest

from chain.l1.connection import checksum
from chain.signing import SECP256K1_N, address_of, keccak256, sign_digest
from tests.chain.contracts.conftest import person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted

ALICE, BOB, CAROL = (checksum(person(i)) for i in range(3))
NOBODY = "0x" + "00" * 20


def test_it_names_itself_with_eighteen_decimals(asset: Handle) -> None:
    assert [asset.call(field) for field in ("name", "symbol", "decimals")] == ["Test USD", "tUSD", 18]


def test_anyone_may_mint(asset: Handle) -> None:
    sent = asset.send("mint", BOB, 70, key=KEYS[2])

    assert sent.event("Transfer") == {"from": NOBODY, "to": BOB, "value": 70}
    assert (asset.call("balanceOf", BOB), asset.call("totalSupply")) == (70, 70)


def test_transfer_moves_what_is_there_and_no_more(asset: Handle) -> None:
    asset.send("mint", ALICE, 10)

    assert asset.send("transfer", BOB, 4).event("Transfer") == {"from": ALICE, "to": BOB, "value": 4}
    with pytest.raises(Reverted) as refused:
        asset.send("transfer", BOB, 7)

    assert (refused.value.name, refused.value.arguments) == ("InsufficientBalance", (ALICE.lower(), 6, 7))
    assert (asset.call("balanceOf", ALICE), asset.call("balanceOf", BOB)) == (6, 4)


def test_an_allowance_is_used_up(asset: Handle) -> None:
    asset.send("mint", ALICE, 10)
    assert asset.send("approve", BOB, 6).event("Approval") == {"owner": ALICE, "spender": BOB, "value": 6}

    asset.send("transferFrom", ALICE, CAROL, 4, key=KEYS[1])

    assert asset.call("allowance", ALICE, BOB) == 2
    with pytest.raises(Reverted, match="InsufficientAllowance"):
        asset.send("transferFrom", ALICE, CAROL, 3, key=KEYS[1])


def test_an_unlimited_allowance_stays(asset: Handle) -> None:
    asset.send("mint", ALICE, 10)
    asset.send("approve", BOB, 2**256 - 1)

    asset.send("transferFrom", ALICE, CAROL, 10, key=KEYS[1])

    assert asset.call("allowance", ALICE, BOB) == 2**256 - 1


@pytest.mark.parametrize(("function", "arguments"), [("mint", (NOBODY, 1)), ("transfer", (NOBODY, 0))])
def test_nothing_goes_to_the_zero_address(asset: Handle, function: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(Reverted, match="ZeroRecipient"):
        asset.send(function, *arguments)


def permit_of(
    asset: Handle, key: bytes, spender: str, value: int, nonce: int, deadline: int
) -> tuple[int, bytes, bytes]:
    owner = address_of(key)
    words = (
        asset.call("PERMIT_TYPEHASH"), bytes(12) + owner, bytes(12) + bytes.fromhex(spender[2:]),
        *(number.to_bytes(32, "big") for number in (value, nonce, deadline)),
    )  # fmt: skip
    digest = keccak256(b"\x19\x01" + asset.call("DOMAIN_SEPARATOR") + keccak256(b"".join(words)))
    signature = sign_digest(key, digest)
    second = int.from_bytes(signature[32:], "big")
    return 27 + (second >> 255), signature[:32], (second & ((1 << 255) - 1)).to_bytes(32, "big")


def test_a_permit_is_an_approval_that_is_taken_once(asset: Handle, ledger: Ledger) -> None:
    deadline = ledger.now_s + 60
    signature = permit_of(asset, KEYS[0], BOB, 6, 0, deadline)

    asset.send("permit", ALICE, BOB, 6, deadline, *signature, key=KEYS[2])

    assert (asset.call("allowance", ALICE, BOB), asset.call("nonces", ALICE)) == (6, 1)
    with pytest.raises(Reverted, match="WrongPermit"):
        asset.send("permit", ALICE, BOB, 6, deadline, *signature)


def test_a_permit_of_another_owner_or_time_is_refused(asset: Handle, ledger: Ledger) -> None:
    deadline = ledger.now_s - 1

    with pytest.raises(Reverted, match="PermitExpired"):
        asset.send("permit", ALICE, BOB, 6, deadline, *permit_of(asset, KEYS[0], BOB, 6, 0, deadline))
    deadline = ledger.now_s
    v, r, s = permit_of(asset, KEYS[0], BOB, 6, 0, deadline)
    twin = (SECP256K1_N - int.from_bytes(s, "big")).to_bytes(32, "big")
    for changed in (
        (BOB, BOB, 6, deadline, v, r, s),
        (ALICE, CAROL, 6, deadline, v, r, s),
        (ALICE, BOB, 7, deadline, v, r, s),
        (ALICE, BOB, 6, deadline + 1, v, r, s),
        (ALICE, BOB, 6, deadline, 55 - v, r, twin),
    ):
        with pytest.raises(Reverted, match="WrongPermit"):
            asset.send("permit", *changed)
