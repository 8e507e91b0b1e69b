"""libsecp256k1 by the shortest way that coincurve's wheel offers: recovering a key, and checking against a known one.

coincurve's own objects cost a tenth of a recovery, and the rollup recovers a key for every signed transaction.
Only the curve's arithmetic is checked here; :mod:`chain.signing` checks the EVM's edge cases.
"""

from __future__ import annotations

import threading
from typing import Any

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

_CONTEXT = GLOBAL_CONTEXT.ctx
_KEY = ffi.typeof("secp256k1_pubkey *")
_SERIALIZED_BYTES = 65
_PREFIX_BYTES = 1

_parse = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
_recover = lib.secp256k1_ecdsa_recover
_serialize = lib.secp256k1_ec_pubkey_serialize
_parse_plain = lib.secp256k1_ecdsa_signature_parse_compact
_verify = lib.secp256k1_ecdsa_verify
_UNCOMPRESSED = lib.SECP256K1_EC_UNCOMPRESSED

KnownKey = Any
"""A public key in the library's own form, which is opaque: make one with :func:`known_key`."""


class _Scratch(threading.local):
    """What the library writes into, one for each thread, since its calls let other threads run."""

    def __init__(self) -> None:
        serialized = ffi.new("unsigned char[65]")
        self.recovering = (
            ffi.new("secp256k1_ecdsa_recoverable_signature *"),
            ffi.new(_KEY),
            serialized,
            ffi.new("size_t *", _SERIALIZED_BYTES),
            ffi.buffer(serialized, _SERIALIZED_BYTES),
        )
        self.checking = ffi.new("secp256k1_ecdsa_signature *")


_scratch = _Scratch()


def recover_key(digest: bytes, compact: bytes, parity: int) -> bytes | None:
    """The public key, ``x ‖ y``, that made a signature, if there is one.

    Args:
        digest: 32 bytes.
        compact: ``r ‖ s``, 64 bytes.
        parity: Whether the point ``R`` has an odd ``y``: 0 or 1.
    """
    signature, key, serialized, length, view = _scratch.recovering
    if not _parse(_CONTEXT, signature, compact, parity) or not _recover(_CONTEXT, key, signature, digest):
        return None
    _serialize(_CONTEXT, serialized, length, key, _UNCOMPRESSED)
    return bytes(view[_PREFIX_BYTES:])


def known_key(public_key: bytes) -> KnownKey:
    """A public key, ``x ‖ y``, made ready for :func:`is_signed_by`.

    Raises:
        ValueError: If it is no point of the curve.
    """
    key = ffi.new(_KEY)
    if not lib.secp256k1_ec_pubkey_parse(_CONTEXT, key, b"\x04" + public_key, _SERIALIZED_BYTES):
        raise ValueError("not a public key")
    return key


def is_signed_by(key: KnownKey, digest: bytes, compact: bytes) -> bool:
    """Whether ``R`` of a signature with a low ``s`` has the ``x`` that ``r`` says, modulo the order, and any ``y``."""
    signature = _scratch.checking
    return bool(_parse_plain(_CONTEXT, signature, compact) and _verify(_CONTEXT, signature, digest, key))
