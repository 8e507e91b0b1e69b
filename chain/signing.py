"""secp256k1 signatures exactly as the EVM's ``ecrecover`` judges them, in the 64-byte form of EIP-2098.

libsecp256k1 is not ``ecrecover`` at the edges (high ``s``, ``r`` or ``s`` of zero, the zero address), so the edges are
checked here, before the library is asked, and every rule that the contracts apply is applied in the same order.
"""

from __future__ import annotations

import re

from coincurve import PrivateKey

from chain.secp256k1 import recover_key

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SIGNATURE_BYTES = 64
ADDRESS_BYTES = 20
_ZERO_WORD = bytes(32)
_N_WORD = SECP256K1_N.to_bytes(32, "big")
_HALF_N_WORD = (SECP256K1_N // 2).to_bytes(32, "big")
ZERO_ADDRESS = bytes(20)
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}", re.ASCII)


try:
    # The C extension that py-evm installs: about 7 times faster than eth-hash's choice.
    from sha3 import keccak_256  # type: ignore[import-untyped, import-not-found, unused-ignore]

    Keccak256 = keccak_256
except ImportError:  # pragma: no cover - depends on the platform's wheels
    from eth_hash.auto import keccak as _eth_hash_keccak

    Keccak256 = _eth_hash_keccak.new
"""``Keccak256(data).digest()`` is :func:`keccak256` without a call around it, for the innermost loops."""


def keccak256(data: bytes) -> bytes:
    """Ethereum's keccak-256 of ``data``, 32 bytes."""
    return Keccak256(data).digest()  # type: ignore[no-any-return, unused-ignore]


def address_of(private_key: bytes) -> bytes:
    """The 20-byte address of a 32-byte private key.

    Raises:
        ValueError: If the key is not 32 bytes in 1..n-1; the message never holds the key.
    """
    return keccak256(_private(private_key).public_key.format(compressed=False)[1:])[12:]


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Sign a 32-byte digest: ``r ‖ (yParity<<255 | s)``, 64 bytes, low ``s`` (EIP-2098), deterministic (RFC 6979).

    Raises:
        ValueError: If the key or the digest has the wrong shape.
    """
    if len(digest) != 32:
        raise ValueError("a digest has 32 bytes")
    recoverable = _private(private_key).sign_recoverable(digest, hasher=None)
    s_with_parity = int.from_bytes(recoverable[32:64], "big") | (recoverable[64] & 1) << 255
    return bytes(recoverable[:32] + s_with_parity.to_bytes(32, "big"))


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Who signed ``digest``: a 20-byte address, or ``None`` for anything the contracts would refuse."""
    public_key = recover_public_key(digest, signature)
    if public_key is None:
        return None
    signer = keccak256(public_key)[12:]
    return None if signer == ZERO_ADDRESS else signer


def recover_public_key(digest: bytes, signature: bytes) -> bytes | None:
    """The key, ``x ‖ y``, whose address :func:`recover` returns; of the zero address too."""
    if len(signature) != SIGNATURE_BYTES or len(digest) != 32:
        return None
    compact, parity = split_signature(signature)
    # Big-endian, so bytes compare as numbers.
    if not _ZERO_WORD < compact[:32] < _N_WORD or not _ZERO_WORD < compact[32:] <= _HALF_N_WORD:
        return None
    return recover_key(digest, compact, parity)


def split_signature(signature: bytes) -> tuple[bytes, int]:
    """``r ‖ s`` and the parity bit that stands above ``s``."""
    top = signature[32]
    if top < 0x80:
        return signature, 0
    return b"%b%c%b" % (signature[:32], top - 0x80, signature[33:]), 1


def flip_parity(signature: bytes) -> bytes:
    """The same ``r`` and ``s`` with the other parity bit, which ``ecrecover`` takes for somebody else's."""
    return signature[:32] + bytes((signature[32] ^ 0x80,)) + signature[33:]


def is_malleable(signature: bytes) -> bool:
    """Whether ``s`` is in the upper half of the order, which the contracts refuse before recovering."""
    return split_signature(signature)[0][32:] > _HALF_N_WORD


def checksum_address(address: bytes) -> str:
    """A 20-byte address as ``0x`` hex with the letter case that checks it (EIP-55)."""
    digits = address.hex()
    check = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, check, strict=False)
    )


def parse_address(text: str) -> bytes:
    """Read an address written as ``0x`` and 40 hex digits; mixed case must be its checksum (EIP-55).

    Raises:
        ValueError: If it is no address, or a mistyped one.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise ValueError("an address is 0x and 40 hex digits")
    digits = text[2:]
    address = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address) != text:
        raise ValueError("the address's checksum is wrong")
    return address


def _private(private_key: bytes) -> PrivateKey:
    if len(private_key) != 32 or not 0 < int.from_bytes(private_key, "big") < SECP256K1_N:
        raise ValueError("not a secp256k1 private key")
    return PrivateKey(private_key)
