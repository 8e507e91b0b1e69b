import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chain.known_keys import KnownKeys, with_right_parity
from chain.signing import SECP256K1_N, address_of, flip_parity, keccak256, recover, sign_digest
from tests.chain.support import key

DIGEST = keccak256(b"what is signed")
OTHER_DIGEST = keccak256(b"what was signed before")
FIELD = 2**256 - 2**32 - 977


def knowing(number: int, capacity: int = 4) -> KnownKeys:
    """Keys among which this one was learned."""
    keys = KnownKeys(capacity)
    assert keys.has_signed(address_of(key(number)), OTHER_DIGEST, sign_digest(key(number), OTHER_DIGEST))
    return keys


def as_ecrecover_says(address: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether one of the two parity bits makes ``ecrecover`` find the address."""
    if len(signature) != 64:
        return False
    return address in (recover(digest, signature), recover(digest, flip_parity(signature)))


@given(st.integers(1, 40), st.binary(min_size=32, max_size=32), st.booleans())
def test_a_signature_counts_with_either_parity_bit_and_is_given_the_right_one(number, digest, is_flipped):
    genuine, address = sign_digest(key(number), digest), address_of(key(number))
    signature = flip_parity(genuine) if is_flipped else genuine
    for keys in (KnownKeys(), knowing(number)):
        assert keys.has_signed(address, digest, signature)
        assert not keys.has_signed(address_of(key(number + 1)), digest, signature)
    assert with_right_parity(address, digest, signature) == genuine
    assert recover(digest, genuine) == address


@given(st.binary(min_size=64, max_size=64) | st.binary(max_size=70))
@example(bytes(64))
@example(b"\xff" * 64)
@example((FIELD - SECP256K1_N - 1).to_bytes(32, "big") + (5).to_bytes(32, "big"))
@example((FIELD - SECP256K1_N).to_bytes(32, "big") + (5).to_bytes(32, "big"))
@example((1).to_bytes(32, "big") + (SECP256K1_N // 2 + 1).to_bytes(32, "big"))
@example(SECP256K1_N.to_bytes(32, "big") + (1).to_bytes(32, "big"))
def test_garbage_is_judged_alike_whether_the_key_is_known_or_not(signature):
    # Whoever such a signature recovers is a key that nobody has: the only address for which garbage is genuine.
    found = recover(DIGEST, signature) if len(signature) == 64 else None
    for address in {address_of(key(1)), found or bytes(20)}:
        expected = as_ecrecover_says(address, DIGEST, signature)
        assert KnownKeys().has_signed(address, DIGEST, signature) == expected
        assert knowing(1).has_signed(address, DIGEST, signature) == expected
        assert (with_right_parity(address, DIGEST, signature) is not None) == expected


@settings(max_examples=200)
@given(st.integers(0, 511), st.booleans())
def test_one_wrong_bit_spoils_a_signature_of_a_known_key_unless_it_is_the_parity(bit, is_flipped):
    genuine = sign_digest(key(1), DIGEST)
    altered = bytearray(flip_parity(genuine) if is_flipped else genuine)
    altered[bit // 8] ^= 0x80 >> bit % 8
    keys, address = knowing(1), address_of(key(1))
    assert keys.has_signed(address, DIGEST, bytes(altered)) == (bit == 256)
    assert as_ecrecover_says(address, DIGEST, bytes(altered)) == (bit == 256)


def test_a_high_s_is_refused_of_a_known_key_too():
    genuine, address = sign_digest(key(1), DIGEST), address_of(key(1))
    s = int.from_bytes(genuine[32:], "big") & (1 << 255) - 1
    high = genuine[:32] + (SECP256K1_N - s).to_bytes(32, "big")
    for signature in (high, flip_parity(high)):
        assert not knowing(1).has_signed(address, DIGEST, signature)
        assert with_right_parity(address, DIGEST, signature) is None


@pytest.mark.parametrize("r", [1, 2, 3, 4, FIELD - SECP256K1_N - 1], ids=hex)
def test_an_r_that_two_points_could_have_made_is_left_to_recovery(r):
    """Below the field less the order, a point whose x is r plus the order verifies too; ecrecover never takes it."""
    signature = r.to_bytes(32, "big") + (5).to_bytes(32, "big")
    signers = {recover(DIGEST, signature), recover(DIGEST, flip_parity(signature))} - {None}
    keys = KnownKeys()
    for address in signers:
        assert keys.has_signed(address, DIGEST, signature)  # learned
        assert keys.has_signed(address, DIGEST, signature)  # and judged alike
    assert not knowing(1).has_signed(address_of(key(1)), DIGEST, signature)


def test_more_keys_than_it_has_room_for_are_learned_again():
    keys = KnownKeys(capacity=2)
    for number in (1, 2, 3, 1, 2, 3, 3):
        assert keys.has_signed(address_of(key(number)), DIGEST, sign_digest(key(number), DIGEST))
        assert not keys.has_signed(address_of(key(number)), OTHER_DIGEST, sign_digest(key(number), DIGEST))
