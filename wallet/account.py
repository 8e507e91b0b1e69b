"""An unlocked wallet account: the only object that holds a wallet's private key, and everything it may sign."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NoReturn

from chain.signing import SECP256K1_N, address_of, sign_digest
from wallet.addresses import checksum_address
from wallet.ethereum import eth_account
from wallet.wallet_error import WalletError

_VOUCHER_KEY_LABEL = b"Idlewatt voucher key v1"
_DERIVED_BYTES = 48
"""64 bits more than the order has, so that the reduction's bias is below 2⁻⁶⁴."""


class SecretKey:
    """A secp256k1 private key that signs digests and never shows itself: not in ``repr``, not to pickle, not to copy.

    Args:
        private_key: 32 bytes.

    Raises:
        WalletError: ``bad_key`` if the bytes are no private key; the message never holds them.
    """

    __slots__ = ("_secret", "address")

    def __init__(self, private_key: bytes) -> None:
        try:
            self.address = address_of(bytes(private_key))
        except ValueError:
            raise WalletError("That is not a private key.", code="bad_key") from None
        self._secret = bytearray(private_key)

    @property
    def address_hex(self) -> str:
        """The checksummed address."""
        return checksum_address(self.address)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: 64 bytes, EIP-2098.

        Raises:
            WalletError: ``wallet_locked`` after :meth:`forget`.
        """
        return sign_digest(self.reveal(), digest)

    def forget(self) -> None:
        """Overwrite the key, as far as Python lets one; signing fails from here on. Harmless when repeated."""
        for position in range(len(self._secret)):
            self._secret[position] = 0
        self._secret.clear()

    def reveal(self) -> bytes:
        """The bare 32 bytes, for sealing into a key file and nothing else.

        Raises:
            WalletError: ``wallet_locked`` after :meth:`forget`.
        """
        if not self._secret:
            raise WalletError("The wallet is locked.", code="wallet_locked", fix="Unlock it with its passphrase.")
        return bytes(self._secret)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address_hex}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither pickled nor copied")


class VoucherKey(SecretKey):
    """The hot key that one channel names as its ``signer``: stolen, it loses that channel's deposit alone."""

    __slots__ = ()


class UnlockedAccount(SecretKey):
    """A wallet account whose passphrase was given; hold it shortly, or as long as a node must sign by itself."""

    __slots__ = ()

    def sign_l1_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Sign a complete L1 transaction (nonce, gas, fees and chain id set) for ``eth_sendRawTransaction``.

        Raises:
            WalletError: ``bad_transaction`` if a field is missing or wrong; ``wallet_locked`` after :meth:`forget`.
        """
        private_key = self.reveal()
        try:
            signed = eth_account().sign_transaction(dict(transaction), private_key)
        except (TypeError, ValueError, KeyError) as error:
            # The library's message may quote its arguments, so only the kind of failure is told.
            raise WalletError(
                f"The L1 transaction can't be signed ({type(error).__name__}).", code="bad_transaction"
            ) from None
        return bytes(signed.raw_transaction)

    def derive_voucher_key(self, deployment: str, salt: bytes) -> VoucherKey:
        """The voucher key of ``salt`` on one deployment: the same wallet derives it again after a restore.

        HKDF-SHA-256 (RFC 5869) over the wallet key, 48 bytes, reduced into 1..n-1. A voucher key says nothing about the
        wallet key or about its siblings.

        Args:
            deployment: The chain's deployment id (``ChainInfo.deployment``).
            salt: What tells this wallet's channels apart; :meth:`voucher_key_at` uses counters.
        """
        pseudo_random_key = hmac.digest(_VOUCHER_KEY_LABEL, self.reveal(), hashlib.sha256)
        context = hashlib.sha256(deployment.lower().encode()).digest() + salt
        stream, block = b"", b""
        for counter in (1, 2):
            block = hmac.digest(pseudo_random_key, block + context + bytes([counter]), hashlib.sha256)
            stream += block
        scalar = int.from_bytes(stream[:_DERIVED_BYTES], "big") % (SECP256K1_N - 1) + 1
        return VoucherKey(scalar.to_bytes(32, "big"))

    def voucher_key_at(self, deployment: str, index: int) -> VoucherKey:
        """The voucher key number ``index`` (from 0), so that a restored wallet can walk through all of them."""
        return self.derive_voucher_key(deployment, voucher_salt(index))


def voucher_salt(index: int) -> bytes:
    """The salt of voucher key number ``index``."""
    return index.to_bytes(8, "big")
