import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.signing import SECP256K1_N, recover
from tests.wallet.keys import ADDRESS_HEX, PRIVATE_KEY, account, voucher_key
from wallet.account import UnlockedAccount, VoucherKey, voucher_salt
from wallet.ethereum import eth_account
from wallet.wallet_error import WalletError

Account = eth_account()

DEPLOYMENT = "0x" + "ab" * 32


def test_an_account_has_its_keys_address() -> None:
    assert account().address_hex == ADDRESS_HEX
    assert account().address == bytes.fromhex(ADDRESS_HEX[2:])


@given(st.binary(min_size=32, max_size=32))
def test_a_signed_digest_recovers_to_the_account(digest: bytes) -> None:
    assert recover(digest, account().sign_digest(digest)) == account().address


@pytest.mark.parametrize("key", [b"", b"\0" * 32, SECP256K1_N.to_bytes(32, "big"), b"\xff" * 32, b"x" * 31])
def test_bytes_that_are_no_key_are_refused_without_being_shown(key: bytes) -> None:
    with pytest.raises(WalletError) as caught:
        UnlockedAccount(key)
    assert caught.value.code == "bad_key"
    assert caught.value.__cause__ is None
    if key:
        assert key.hex() not in str(caught.value)


def test_a_key_shows_its_address_and_never_itself() -> None:
    for key in (account(), voucher_key()):
        assert key.address_hex in repr(key)
        assert key.reveal().hex() not in repr(key) + str(key)
        assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("move", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_neither_pickled_nor_copied(move: object) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        move(account())  # type: ignore[operator]


def test_a_forgotten_key_signs_nothing_more() -> None:
    key = account()
    key.forget()
    key.forget()
    with pytest.raises(WalletError) as caught:
        key.sign_digest(bytes(32))
    assert caught.value.code == "wallet_locked"
    with pytest.raises(WalletError):
        key.derive_voucher_key(DEPLOYMENT, b"")
    assert key.address_hex == ADDRESS_HEX


def test_an_l1_transaction_is_signed_as_eth_account_signs_it() -> None:
    transaction = {
        "to": "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55",
        "value": 10**9,
        "gas": 2_000_000,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "nonce": 0,
        "chainId": 1337,
        "type": 2,
    }
    raw = account().sign_l1_transaction(transaction)
    assert Account.recover_transaction(raw) == ADDRESS_HEX
    assert raw == bytes(Account.sign_transaction(transaction, PRIVATE_KEY).raw_transaction)


@pytest.mark.parametrize("transaction", [{}, {"to": 5}, {"nonce": "x", "gas": 1, "gasPrice": 1, "to": "0x"}])
def test_a_broken_l1_transaction_is_one_clear_line(transaction: dict[str, object]) -> None:
    with pytest.raises(WalletError) as caught:
        account().sign_l1_transaction(transaction)
    assert caught.value.code == "bad_transaction"


def test_voucher_keys_differ_by_wallet_by_deployment_and_by_salt() -> None:
    other = UnlockedAccount(b"\x01" * 32)
    keys = [
        account().derive_voucher_key(DEPLOYMENT, b"a"),
        account().derive_voucher_key(DEPLOYMENT, b"b"),
        account().derive_voucher_key("0x" + "cd" * 32, b"a"),
        other.derive_voucher_key(DEPLOYMENT, b"a"),
    ]
    assert len({key.address for key in keys}) == len(keys)
    assert account().address not in {key.address for key in keys}


def test_a_restored_wallet_derives_the_same_voucher_key_again() -> None:
    first = account().derive_voucher_key(DEPLOYMENT, b"salt")
    again = account().derive_voucher_key(DEPLOYMENT.upper().replace("0X", "0x"), b"salt")
    assert isinstance(first, VoucherKey)
    assert first.address == again.address
    # Pinned: money locked in channels depends on this derivation never changing.
    assert first.address_hex == "0xd96C48469ce08fCA4485BE8ed155C74001c5711D"


def test_a_restored_wallet_walks_through_its_voucher_keys() -> None:
    mine = [account().voucher_key_at(DEPLOYMENT, index) for index in (0, 3, 9)]
    assert len({key.address for key in mine}) == 3
    assert account().derive_voucher_key(DEPLOYMENT, voucher_salt(3)).address == mine[1].address
