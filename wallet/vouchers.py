"""Vouchers: a buyer's signed promise of so much in all on one channel, redeemable by the provider at any time."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec

from chain.eip712 import SigningDomain, voucher_digest
from chain.known_keys import KnownKeys, with_right_parity
from chain.l1.protocol import SignedVoucher
from chain.money import MAX_NANO
from chain.signing import SIGNATURE_BYTES
from chain.txs import Redeem
from wallet.wallet_error import WalletError

MAX_CHANNEL_ID = 2**32 - 1
"""Channel numbers travel as u32."""


_voucher_keys = KnownKeys()


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

    Args:
        key: The channel's voucher key.
        domain: The deployment's.
        channel_id: The channel.
        cumulative_nano: The sum of everything paid on it, this payment included.

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
    """Whether the contracts would take this voucher as :func:`redeemable` returns it, whatever the deposit.

    Args:
        domain: The deployment's.
        voucher: The voucher, as a peer sent it.
        signer: The address of the channel's voucher key, 20 bytes.
    """
    digest = _digest(domain, voucher)
    return digest is not None and _voucher_keys.has_signed(signer, digest, voucher.signature)


def redeemable(domain: SigningDomain, voucher: Voucher, signer: bytes) -> Voucher:
    """The voucher with the parity bit that the contracts recover ``signer`` by: what to hand to L2 or L1.

    A voucher that passed :func:`verify_voucher` has such a form, and a payer can't spoil it: the bit is no part of what
    is signed, so whoever holds the voucher may set it.

    Args:
        domain: The deployment's.
        voucher: One that passed :func:`verify_voucher`.
        signer: The address of the channel's voucher key, 20 bytes.

    Raises:
        WalletError: ``bad_voucher`` if it isn't signed by that key.
    """
    digest = _digest(domain, voucher)
    signature = with_right_parity(signer, digest, voucher.signature) if digest is not None else None
    if signature is None:
        raise WalletError("That voucher is not signed by the channel's voucher key.", code="bad_voucher")
    return msgspec.structs.replace(voucher, signature=signature)


def provable(domain: SigningDomain, channel_id: int, voucher: SignedVoucher, signer: bytes) -> SignedVoucher | None:
    """The same of a voucher that a channel's exit on L1 is to take; ``None`` if it isn't signed by that key."""
    try:
        valid = redeemable(domain, Voucher(channel_id, voucher.cumulative_nano, voucher.signature), signer)
    except WalletError:
        return None
    return SignedVoucher(cumulative_nano=valid.cumulative_nano, signature=valid.signature)


def redemption(domain: SigningDomain, voucher: Voucher, signer: bytes) -> bytes:
    """The transaction that redeems a voucher; anyone may send it.

    Args:
        domain: The deployment's.
        voucher: The voucher to redeem.
        signer: The address of the channel's voucher key, 20 bytes.

    Raises:
        WalletError: ``bad_voucher`` if it isn't signed by that key.
    """
    valid = redeemable(domain, voucher, signer)
    return Redeem(valid.channel_id, valid.cumulative_nano).encode(valid.signature)


def _digest(domain: SigningDomain, voucher: Voucher) -> bytes | None:
    if not 0 <= voucher.channel_id <= MAX_CHANNEL_ID or not 0 <= voucher.cumulative_nano <= MAX_NANO:
        return None
    return voucher_digest(domain, voucher.channel_id, voucher.cumulative_nano)
