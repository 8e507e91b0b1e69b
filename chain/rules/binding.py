"""The address that a transaction is signed with besides its fields, as a state has it.

Whoever holds a state that it executed itself may ask it. A wallet does not: it signs the address that a person or a
signed offer named, so that a number which comes to name somebody else ends in a refused transaction.
"""

from __future__ import annotations

from typing import Any, Protocol

from chain.signing import ZERO_ADDRESS
from chain.txs import CloseTogether, OpenChannel, Slash, StartClose, TopUp, Transfer
from chain.types import Account, Channel


class Numbers(Protocol):
    """What account and channel numbers name."""

    def account(self, number: int) -> Account | None:
        """The account of a number."""
        ...

    def channel(self, number: int) -> Channel | None:
        """The channel of a number."""
        ...


def bound_address(numbers: Numbers, tx: Any) -> bytes:
    """What ``tx.digest`` takes as ``bound``: empty for a kind that has none, zero where the number names nothing.

    Args:
        numbers: For example a ``RollupState``.
        tx: A signed transaction's body.
    """
    if isinstance(tx, Transfer | OpenChannel | Slash):
        named = tx.receiver if isinstance(tx, Transfer) else tx.payee if isinstance(tx, OpenChannel) else tx.provider
        account = numbers.account(named)
        return account.owner if account else ZERO_ADDRESS
    if isinstance(tx, TopUp | StartClose | CloseTogether):
        channel = numbers.channel(tx.channel)
        return channel.signer if channel else ZERO_ADDRESS
    return b""
