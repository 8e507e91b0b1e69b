import msgspec
import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from tests.wallet.keys import DOMAIN, OTHER_DOMAIN, voucher_key
from wallet.errors import WalletError
from wallet.ethereum import eth_account
from wallet.vouchers import Voucher, sign_voucher, verify_voucher

Account = eth_account()

channel_ids = st.integers(0, 2**32 - 1)
amounts = st.integers(0, 2**64 - 1)


@given(channel_ids, amounts)
def test_a_voucher_verifies_for_its_signer_and_for_nobody_else(channel_id: int, cumulative_nano: int) -> None:
    voucher = sign_voucher(voucher_key(), DOMAIN, channel_id, cumulative_nano)
    assert verify_voucher(DOMAIN, voucher, voucher_key().address)
    assert not verify_voucher(DOMAIN, voucher, voucher_key(8).address)
    assert not verify_voucher(OTHER_DOMAIN, voucher, voucher_key().address)


@given(channel_ids, amounts, amounts)
def test_a_voucher_is_good_for_exactly_its_amount(channel_id: int, signed_nano: int, claimed_nano: int) -> None:
    voucher = sign_voucher(voucher_key(), DOMAIN, channel_id, signed_nano)
    altered = msgspec.structs.replace(voucher, cumulative_nano=claimed_nano)
    assert verify_voucher(DOMAIN, altered, voucher_key().address) == (signed_nano == claimed_nano)


def test_any_wallet_that_speaks_eip_712_signs_the_same_voucher() -> None:
    message = encode_typed_data(
        {"name": "Idlewatt", "version": "1", "chainId": 424242, "verifyingContract": "0x" + bytes(range(20)).hex()},
        {"Voucher": [{"name": "channel", "type": "uint32"}, {"name": "cumulative", "type": "uint64"}]},
        {"channel": 5, "cumulative": 1_234_567},
    )
    voucher = sign_voucher(voucher_key(), DOMAIN, 5, 1_234_567)
    signed = Account.sign_message(message, voucher_key().reveal())
    assert int.from_bytes(voucher.signature[:32], "big") == signed.r
    assert int.from_bytes(voucher.signature[32:], "big") == signed.s | (signed.v - 27) << 255


@pytest.mark.parametrize(("channel_id", "amount_nano"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**64)])
def test_numbers_that_the_rollup_cannot_carry_are_neither_signed_nor_believed(
    channel_id: int, amount_nano: int
) -> None:
    with pytest.raises(WalletError):
        sign_voucher(voucher_key(), DOMAIN, channel_id, amount_nano)
    assert not verify_voucher(DOMAIN, Voucher(channel_id, amount_nano, bytes(64)), voucher_key().address)


@given(st.binary(max_size=80))
def test_a_garbage_signature_verifies_for_nobody(signature: bytes) -> None:
    assert not verify_voucher(DOMAIN, Voucher(1, 1, signature), voucher_key().address)


def test_decoding_refuses_a_signature_of_another_length() -> None:
    raw = msgspec.msgpack.encode({"channel_id": 1, "cumulative_nano": 1, "signature": b"x" * 63})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(raw, type=Voucher)
