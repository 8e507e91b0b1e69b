"""Addresses that people type: read with one clear line about what is wrong."""

from __future__ import annotations

from chain.signing import ADDRESS_BYTES, checksum_address
from chain.signing import parse_address as parse_exact_address
from wallet.wallet_error import WalletError

__all__ = ["ADDRESS_BYTES", "checksum_address", "parse_address"]


def parse_address(text: str) -> bytes:
    """Read an address that a person typed or pasted; mixed case must carry a right checksum.

    Raises:
        WalletError: ``bad_address`` if it is not one.
    """
    try:
        return parse_exact_address(text.strip())
    except ValueError:
        raise WalletError(
            "That is not an address, or it is mistyped.",
            code="bad_address",
            fix="Write 0x followed by 40 hexadecimal digits, copied exactly.",
        ) from None
