import pytest
from eth_account import Account
from eth_keys import keys
from eth_keys.exceptions import BadSignature
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import signing
from chain.signing import (
    SECP256K1_N,
    address_of,
    checksum_address,
    is_malleable,
    keccak256,
    parse_address,
    recover,
    sign_digest,
)
from tests.chain.support import key

DIGEST = keccak256(b"what is signed")


def compact(r: int, s: int, parity: int = 0) -> bytes:
    return r.to_bytes(32, "big") + (parity << 255 | s).to_bytes(32, "big")


def read(signature: bytes) -> tuple[int, int, int]:
    vs = int.from_bytes(signature[32:], "big")
    return int.from_bytes(signature[:32], "big"), vs & ((1 << 255) - 1), vs >> 255


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32))
def test_signatures_are_eth_accounts_in_compact_form(digest):
    ours = sign_digest(key(1), digest)
    theirs = Account.unsafe_sign_hash(digest, key(1))
    assert read(ours) == (theirs.r, theirs.s, theirs.v - 27)
    assert recover(digest, ours) == address_of(key(1))


def test_an_address_is_eth_accounts():
    assert checksum_address(address_of(key(1))) == Account.from_key(key(1)).address


@settings(max_examples=60)
@given(st.integers(0, 2**256 - 1), st.integers(0, 2**255 - 1), st.integers(0, 1))
def test_recovery_agrees_with_another_implementation_on_any_r_and_s(r, s, parity):
    ours = recover(DIGEST, compact(r, s, parity))
    if not 0 < r < SECP256K1_N or not 0 < s <= SECP256K1_N // 2:
        assert ours is None
        return
    try:
        theirs = keys.Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(DIGEST).to_canonical_address()
    except (BadSignature, ValueError):
        theirs = None
    assert ours == theirs


def test_a_high_s_is_malleable_and_recovers_nobody():
    r, s, parity = read(sign_digest(key(1), DIGEST))
    flipped = SECP256K1_N - s
    if flipped < 2**255:
        assert is_malleable(compact(r, flipped, 1 - parity))
        assert recover(DIGEST, compact(r, flipped, 1 - parity)) is None


@pytest.mark.parametrize("s", [SECP256K1_N // 2 + 1, 2**255 - 1, 2**254 + 2**253 + 2**252])
def test_s_between_half_the_order_and_two_to_the_255_is_refused(s):
    r = read(sign_digest(key(1), DIGEST))[0]
    assert is_malleable(compact(r, s)) == (s > SECP256K1_N // 2)
    if s > SECP256K1_N // 2:
        assert recover(DIGEST, compact(r, s)) is None


def test_the_largest_low_s_is_accepted_where_the_curve_has_the_point():
    r = read(sign_digest(key(1), DIGEST))[0]
    assert not is_malleable(compact(r, SECP256K1_N // 2))
    assert recover(DIGEST, compact(r, SECP256K1_N // 2)) is not None


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (0, 0), (SECP256K1_N, 1), (2**256 - 1, 1), (5, 1)], ids=str)
def test_degenerate_signatures_recover_nobody(r, s):
    assert recover(DIGEST, compact(r, s)) is None


def test_wrong_lengths_recover_nobody():
    signature = sign_digest(key(1), DIGEST)
    assert recover(DIGEST, signature[:-1]) is None
    assert recover(DIGEST, signature + b"\0") is None
    assert recover(DIGEST[:-1], signature) is None


def test_the_zero_address_is_nobody(monkeypatch):
    signature = sign_digest(key(1), DIGEST)
    monkeypatch.setattr(signing, "keccak256", lambda _: bytes(32))
    assert recover(DIGEST, signature) is None


@pytest.mark.parametrize("bad", [b"", bytes(32), SECP256K1_N.to_bytes(32, "big"), b"\xff" * 33])
def test_a_bad_private_key_is_refused_without_being_shown(bad):
    with pytest.raises(ValueError, match="not a secp256k1 private key") as caught:
        sign_digest(bad, DIGEST)
    assert bad.hex() not in str(caught.value) or not bad


def test_only_digests_are_signed():
    with pytest.raises(ValueError, match="32 bytes"):
        sign_digest(key(1), b"short")


@settings(max_examples=50)
@given(st.binary(min_size=20, max_size=20))
def test_checksums_are_eip_55s_and_read_back(address):
    text = checksum_address(address)
    assert text == to_checksum_address(address)
    assert parse_address(text) == parse_address(text.lower()) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "g" * 40,
        "11" * 21,
        "0x" + "１" * 40,
        "0x" + " 1" * 20,
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaee",
    ],
)
def test_what_is_no_address_or_mistyped_is_refused(text):
    with pytest.raises(ValueError, match="address"):
        parse_address(text)
