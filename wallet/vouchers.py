"""Vouchers: a buyer's signed promise of so much in all on one channel, redeemable by the provider at any time."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec

from chain.eip712 import SigningDomain, voucher_digest
from chain.money import MAX_NANO
from chain.signing import SIGNATURE_BYTES, recover
from wallet.errors import WalletError

MAX_CHANNEL_ID = 2**32 - 1
"""Channel numbers travel as u32."""


class DigestSigner(Protocol):
    """Whatever signs 32-byte digests for one address: an unlocked account or a voucher key."""

    address: bytes

    def sign_digest(self, digest: bytes) -> bytes:
        """64 bytes, EIP-2098."""
        ...


class Voucher(msgspec.Struct, frozen=True):
    """``cumulative_nano`` since the channel's opening, signed by the channel's voucher key; newer beats older."""

    channel_id: Annotated[int, msgspec.Meta(ge=0, le=MAX_CHANNEL_ID)]
    cumulative_nano: Annotated[int, msgspec.Meta(ge=0)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


def sign_voucher(key: DigestSigner, domain: SigningDomain, channel_id: int, cumulative_nano: int) -> Voucher:
    """Promise ``cumulative_nano`` in all. Write it down (``Store.raise_signed``) before calling this.

    Raises:
        WalletError: ``bad_amount`` or ``bad_channel`` if a number is outside what the rollup can carry.
    """
    if not 0 <= channel_id <= MAX_CHANNEL_ID:
        raise WalletError("That is not a channel number.", code="bad_channel")
    if not 0 <= cumulative_nano <= MAX_NANO:
        raise WalletError("That amount can't be put into a voucher.", code="bad_amount")
    signature = key.sign_digest(voucher_digest(domain, channel_id, cumulative_nano))
    return Voucher(channel_id, cumulative_nano, signature)


def verify_voucher(domain: SigningDomain, voucher: Voucher, signer: bytes) -> bool:
    """Whether the contracts would take this voucher as signed by ``signer`` (20 bytes), whatever the deposit."""
    if not 0 <= voucher.channel_id <= MAX_CHANNEL_ID or not 0 <= voucher.cumulative_nano <= MAX_NANO:
        return False
    digest = voucher_digest(domain, voucher.channel_id, voucher.cumulative_nano)
    return recover(digest, voucher.signature) == signer
