"""What goes wrong with keys and money, as one coded error."""

from __future__ import annotations

from chain.errors import IdlewattError


class WalletError(IdlewattError):
    """A wallet could not do what was asked.

    Codes: ``absurd_fee``, ``ambiguous_wallet``, ``bad_address``, ``bad_amount``, ``bad_channel``, ``bad_key``,
    ``bad_keystore``, ``bad_mnemonic``, ``bad_receipt``, ``bad_transaction``, ``disk_full``, ``empty_passphrase``,
    ``foreign_chain``, ``keystore_unusable``, ``no_faucet``, ``no_funds``, ``no_voucher_key``, ``no_wallet``,
    ``nothing_to_redeem``, ``too_early``, ``unconfirmed``, ``wallet_exists``, ``wallet_locked``, ``wrong_passphrase``.
    """

    default_code = "wallet_failed"
