"""An L1 signer whose key stays where it is: in an unlocked wallet, for example."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chain.l1.connection import L1Connection, L1Signer

SignTransaction = Callable[[dict[str, Any]], bytes]
"""Signs one transaction's fields as eth-account takes them; returns it raw."""


class WalletL1Signer(L1Signer):
    """Sends transactions that somebody else signs, one after the other.

    Args:
        connection: Where to send them.
        address: The signer's; 20 bytes.
        sign: Signs one transaction.
    """

    def __init__(self, connection: L1Connection, address: bytes, sign: SignTransaction) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._sign_transaction = sign
        self.address = address

    def _sign(self, fields: dict[str, Any]) -> bytes:
        return self._sign_transaction(fields)
