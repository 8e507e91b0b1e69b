"""A user's way between L1 and the rollup: L1 balances, and deposits signed by the user's own wallet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.connection import L1Connection, checksum
from chain.money import ASSET_WEI_PER_NANO, MAX_NANO

NO_INDEX_HINT = 0xFFFFFFFF
"""A deposit's hint where the owner's L2 account is unknown or doesn't exist yet: the rollup allocates one."""


class Bridge:
    """Balances and deposits of one person on L1.

    Args:
        l1_rpc_url: The L1's JSON-RPC over HTTP.
        inbox_address: 20 bytes.
        asset_address: 20 bytes.
    """

    def __init__(self, l1_rpc_url: str, *, inbox_address: bytes, asset_address: bytes) -> None:
        self._connection = L1Connection(l1_rpc_url)
        self._inbox_address = inbox_address
        self._inbox = self._connection.contract("Inbox", inbox_address)
        self._asset = self._connection.contract("TestUSD", asset_address)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    async def asset_balance_nano(self, address: bytes) -> int:
        """The settlement asset that an address holds on L1, rounded down to a nano."""
        units = await self._connection.call(self._asset.functions.balanceOf(checksum(address)))
        return int(units) // ASSET_WEI_PER_NANO

    async def ether_balance_wei(self, address: bytes) -> int:
        """The ether that an address holds on L1."""
        eth = self._connection.web3.eth
        return int(await self._connection.request(lambda: eth.get_balance(checksum(address))))

    async def deposit(
        self,
        sign_transaction: Callable[[dict[str, Any]], bytes],
        sender: bytes,
        owner: bytes,
        amount_nano: int,
        *,
        index_hint: int | None = None,
    ) -> str:
        """Move money from ``sender`` on L1 to ``owner`` on L2: an approval where one is needed, then the deposit.

        Args:
            sign_transaction: Signs one transaction's fields as eth-account takes them; returns it raw.
            sender: Who pays on L1; 20 bytes.
            owner: Who is credited on L2; 20 bytes.
            amount_nano: How much.
            index_hint: The owner's L2 account index, if it has one; without it the rollup allocates an account.

        Returns:
            The deposit's L1 transaction hash, once it is mined.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: With code ``insufficient_funds`` or ``no_gas`` where the sender lacks money or ether.
        """
        if not 0 < amount_nano <= MAX_NANO:
            raise ChainRejectedError(
                "That amount can't be deposited.", code="bad_amount", fix="Deposit more than zero."
            )
        units = amount_nano * ASSET_WEI_PER_NANO
        held = await self._connection.call(self._asset.functions.balanceOf(checksum(sender)))
        if held < units:
            raise ChainRejectedError(
                "The L1 account holds less than that.",
                code="insufficient_funds",
                fix="Deposit less, or move the asset to the account first.",
            )
        if await self.ether_balance_wei(sender) == 0:
            raise ChainRejectedError(
                "The L1 account has no ether to pay for gas.", code="no_gas", fix="Send it a little ether first."
            )
        spender = checksum(self._inbox_address)
        allowed = await self._connection.call(self._asset.functions.allowance(checksum(sender), spender))
        if allowed < units:
            await self._send(sign_transaction, sender, self._asset.functions.approve(spender, units))
        hint = NO_INDEX_HINT if index_hint is None else index_hint
        deposit = self._inbox.functions.deposit(checksum(owner), hint, amount_nano)
        return await self._send(sign_transaction, sender, deposit)

    async def _send(self, sign_transaction: Callable[[dict[str, Any]], bytes], sender: bytes, function: Any) -> str:
        nonce = await self._connection.next_nonce(sender)
        fields = await self._connection.prepare(sender, function, nonce=nonce)
        # eth-account derives the sender from the key and refuses to be told.
        fields.pop("from", None)
        receipt = await self._connection.broadcast(sign_transaction(fields))
        return "0x" + bytes(receipt["transactionHash"]).hex()
