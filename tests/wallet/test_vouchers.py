import msgspec
import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from chain.l1.protocol import SignedVoucher
from chain.signing import flip_parity
from chain.state import RollupState
from chain.stf import Code, Rules, apply
from chain.types import META_KEY, Account, Channel, Meta, channel_key
from tests.wallet.keys import DOMAIN, OTHER_DOMAIN, voucher_key
from wallet.ethereum import eth_account
from wallet.vouchers import Voucher, provable, redeemable, redemption, sign_voucher, verify_voucher
from wallet.wallet_error import WalletError

ethereum = eth_account()

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


@given(st.integers(0, 2**30 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.booleans())
def test_what_verifies_is_what_the_chain_redeems_whatever_parity_bit_it_came_with(
    channel_id: int, cumulative_nano: int, is_flipped: bool, is_known: bool
) -> None:
    key = voucher_key() if is_known else voucher_key(1 + channel_id)
    genuine = sign_voucher(key, DOMAIN, channel_id, cumulative_nano)
    received = msgspec.structs.replace(
        genuine, signature=flip_parity(genuine.signature) if is_flipped else genuine.signature
    )
    assert verify_voucher(DOMAIN, received, key.address)
    assert redeemable(DOMAIN, received, key.address) == genuine
    channel = Channel(payer=1, payee=2, signer=key.address, deposit_nano=2**64, expiry_s=10)
    leaves = [(1, Account(owner=b"\1" * 20)), (2, Account(owner=b"\2" * 20)), (META_KEY, Meta())]
    state = RollupState.from_leaves([*leaves, (channel_key(channel_id), channel)])
    rules = Rules(domain=DOMAIN, close_delay_s=1, unstake_delay_s=1)
    assert apply(state, redemption(DOMAIN, received, key.address), rules).code is Code.OK
    payee = state.account(2)
    assert payee is not None
    assert payee.balance_nano == cumulative_nano


@given(channel_ids, amounts, st.binary(min_size=64, max_size=64))
def test_a_voucher_that_does_not_verify_is_never_redeemable(
    channel_id: int, cumulative_nano: int, signature: bytes
) -> None:
    voucher = Voucher(channel_id, cumulative_nano, signature)
    assert not verify_voucher(DOMAIN, voucher, voucher_key().address)
    with pytest.raises(WalletError) as caught:
        redeemable(DOMAIN, voucher, voucher_key().address)
    assert caught.value.code == "bad_voucher"
    promised = SignedVoucher(cumulative_nano=cumulative_nano, signature=signature)
    assert provable(DOMAIN, channel_id, promised, voucher_key().address) is None


def test_any_wallet_that_speaks_eip_712_signs_the_same_voucher() -> None:
    message = encode_typed_data(
        {
            "name": "Idlewatt",
            "version": "1",
            "chainId": 424242,
            "verifyingContract": "0x" + bytes(range(20)).hex(),
            "salt": bytes(range(32)),
        },
        {"Voucher": [{"name": "channel", "type": "uint32"}, {"name": "cumulative", "type": "uint64"}]},
        {"channel": 5, "cumulative": 1_234_567},
    )
    voucher = sign_voucher(voucher_key(), DOMAIN, 5, 1_234_567)
    signed = ethereum.sign_message(message, voucher_key().reveal())
    assert int.from_bytes(voucher.signature[:32], "big") == signed.r
    assert int.from_bytes(voucher.signature[32:], "big") == signed.s | (signed.v - 27) << 255


@pytest.mark.parametrize(("channel_id", "amount_nano"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**64)])
def test_numbers_that_the_rollup_cannot_carry_are_neither_signed_nor_believed(
    channel_id: int, amount_nano: int
) -> None:
    with pytest.raises(WalletError):
        sign_voucher(voucher_key(), DOMAIN, channel_id, amount_nano)
    voucher = Voucher(channel_id, amount_nano, bytes(64))
    assert not verify_voucher(DOMAIN, voucher, voucher_key().address)
    with pytest.raises(WalletError):
        redeemable(DOMAIN, voucher, voucher_key().address)


@given(st.binary(max_size=80))
def test_a_garbage_signature_verifies_for_nobody(signature: bytes) -> None:
    assert not verify_voucher(DOMAIN, Voucher(1, 1, signature), voucher_key().address)


def test_decoding_refuses_a_signature_of_another_length() -> None:
    raw = msgspec.msgpack.encode({"channel_id": 1, "cumulative_nano": 1, "signature": b"x" * 63})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(raw, type=Voucher)
