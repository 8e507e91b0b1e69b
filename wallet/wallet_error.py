"""The error of keys and money."""

from __future__ import annotations

from chain.errors import IdlewattError


class WalletError(IdlewattError):
    """A wallet could not do what was asked."""

    default_code = "wallet_failed"
