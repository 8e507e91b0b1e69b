"""Addresses between their two forms: 20 bytes inside, EIP-55 checksummed ``0x`` hex for people and JSON.

Source: https://eips.ethereum.org/EIPS/eip-55.
"""

from __future__ import annotations

import re

from chain.signing import keccak256
from wallet.errors import WalletError

ADDRESS_BYTES = 20
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)


def checksum_address(address: bytes) -> str:
    """The EIP-55 form of a 20-byte address.

    Raises:
        ValueError: If it does not have 20 bytes.
    """
    if len(address) != ADDRESS_BYTES:
        raise ValueError("an address has 20 bytes")
    digits = address.hex()
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, nibbles, strict=False)
    )


def parse_address(text: str) -> bytes:
    """Read an address that a person typed or a peer sent; mixed case must carry a right checksum.

    Raises:
        WalletError: ``bad_address`` if it is not one.
    """
    cleaned = text.strip()
    if not _ADDRESS.fullmatch(cleaned):
        raise WalletError(
            "That is not an address.", code="bad_address", fix="Write 0x followed by 40 hexadecimal digits."
        )
    digits = cleaned[2:]
    address = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address)[2:] != digits:
        raise WalletError("That address is mistyped: its checksum is wrong.", code="bad_address", fix="Copy it again.")
    return address
