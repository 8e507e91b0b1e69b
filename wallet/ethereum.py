"""eth-account, imported late (it takes most of a second) and without its side effects on the process."""

from __future__ import annotations

from typing import Any

from chain.recursion import restore_recursion_limit


def eth_account() -> Any:
    """eth-account's ``Account``, with mnemonics enabled."""
    from eth_account import Account

    restore_recursion_limit()
    Account.enable_unaudited_hdwallet_features()
    return Account
