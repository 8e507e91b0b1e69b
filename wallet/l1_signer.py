"""A wallet's account as the sender of L1 transactions; imports web3, so only ``wallet.l1`` loads it."""

from __future__ import annotations

from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.connection import L1Connection, L1Signer, checksum
from wallet.account import UnlockedAccount


class WalletSigner(L1Signer):
    """Signs with an unlocked account, whose key stays where it is.

    Args:
        connection: Where to send.
        account: Signs, and pays the gas.
    """

    def __init__(self, connection: L1Connection, account: UnlockedAccount) -> None:
        super().__init__(connection, account.address, account.sign_l1_transaction)

    async def send(self, function: Any, *, value_wei: int = 0) -> Any:
        """Call a contract function in a mined transaction; returns the receipt.

        Raises:
            ChainRejectedError: With code ``no_gas`` where the account has no ether; else as `L1Signer.send`.
            ChainUnavailableError: As `L1Signer.send`.
        """
        eth = self._connection.web3.eth
        if not await self._connection.request(lambda: eth.get_balance(checksum(self.address))):
            raise ChainRejectedError(
                "The L1 account has no ether to pay for gas.",
                code="no_gas",
                fix=f"Send a little ether to {checksum(self.address)} on L1 first.",
            )
        return await super().send(function, value_wei=value_wei)
