"""Checking many signatures of few keys: a public key is recovered once, and verified against from then on.

Verifying takes about a quarter less time than recovering, because ``R`` itself is never computed. So it says nothing
about the parity bit, by which ``ecrecover`` picks one of the two points with the ``x`` of ``r``. Call
:func:`with_right_parity` before such a signature goes to a contract.
"""

from __future__ import annotations

from cachetools import FIFOCache

from chain.secp256k1 import KnownKey, is_signed_by, known_key
from chain.signing import (
    SECP256K1_N,
    SIGNATURE_BYTES,
    flip_parity,
    recover,
    recover_public_key,
    split_signature,
)

DEFAULT_KEYS = 1024
_FIELD = 2**256 - 2**32 - 977
_FIELD_LESS_ORDER = (_FIELD - SECP256K1_N).to_bytes(32, "big")


def with_right_parity(address: bytes, digest: bytes, signature: bytes) -> bytes | None:
    """The signature with the parity bit that lets ``ecrecover`` find ``address``, if one of the two does."""
    if len(signature) != SIGNATURE_BYTES:
        return None
    candidates = (signature, flip_parity(signature))
    return next((candidate for candidate in candidates if recover(digest, candidate) == address), None)


class KnownKeys:
    """The public keys behind some addresses, as far as their signatures showed them.

    What is remembered changes how long an answer takes, and never the answer.

    Args:
        capacity: How many keys are remembered; the one that was learned first is forgotten first.
    """

    def __init__(self, capacity: int = DEFAULT_KEYS) -> None:
        self._keys: FIFOCache[bytes, KnownKey] = FIFOCache(capacity)

    def has_signed(self, address: bytes, digest: bytes, signature: bytes) -> bool:
        """Whether :func:`with_right_parity` finds a signature of ``address``, at less than the cost of asking it."""
        key = self._keys.get(address)
        # With a smaller r, verifying would also accept the point whose x is r plus the order; ecrecover doesn't.
        if key is None or signature[:32] < _FIELD_LESS_ORDER:
            return self._learn(address, digest, signature)
        return (
            len(signature) == SIGNATURE_BYTES
            and len(digest) == 32
            and is_signed_by(key, digest, split_signature(signature)[0])
        )

    def _learn(self, address: bytes, digest: bytes, signature: bytes) -> bool:
        valid = with_right_parity(address, digest, signature)
        public_key = recover_public_key(digest, valid) if valid is not None else None
        if public_key is None:
            return False
        self._keys[address] = known_key(public_key)
        return True
