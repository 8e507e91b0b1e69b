"""Moves of money between L1 and the rollup, each signed by the user's own wallet.

Deposits, transactions forced past a sequencer that ignores them, and exits after a freeze.
"""

from __future__ import annotations

from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.connection import L1Connection, L1Signer, SignTransaction, checksum
from chain.l1.exits import exit_account_call, exit_channel_call, raise_exit_call, refund_call
from chain.l1.inbox import check_forced
from chain.l1.protocol import AccountProof, ChannelProof, InboxMessage, SignedVoucher
from chain.money import ASSET_WEI_PER_NANO, MAX_NANO
from chain.types import channel_key

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
        sign_transaction: SignTransaction,
        sender: bytes,
        owner: bytes,
        amount_nano: int,
        *,
        index_hint: int | None = None,
    ) -> str:
        """Move money from ``sender`` on L1 to ``owner`` on L2: an approval where one is needed, then the deposit.

        Args:
            sign_transaction: Signs one transaction's fields as eth-account takes them; returns it raw.
            sender: The address that pays on L1; 20 bytes.
            owner: The address that is credited on L2; 20 bytes.
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
        spender = checksum(self._inbox_address)
        allowed = await self._connection.call(self._asset.functions.allowance(checksum(sender), spender))
        if allowed < units:
            await self._send(sign_transaction, sender, self._asset.functions.approve(spender, units))
        hint = NO_INDEX_HINT if index_hint is None else index_hint
        deposit = self._inbox.functions.deposit(checksum(owner), hint, amount_nano)
        return await self._send(sign_transaction, sender, deposit)

    async def force_tx(self, sign_transaction: SignTransaction, sender: bytes, body: bytes) -> str:
        """Put a signed L2 transaction into the L1 inbox, which no sequencer can leave out for long.

        Args:
            sign_transaction: Signs one L1 transaction.
            sender: The address that pays the gas; 20 bytes.
            body: The L2 transaction, at most 128 bytes.

        Returns:
            The L1 transaction's hash, once it is mined.

        Raises:
            UsageError: If the transaction is empty or too long to be forced.
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: If L1 refuses; ``rollup_frozen`` after a freeze.
        """
        check_forced(body)
        return await self._send(sign_transaction, sender, self._inbox.functions.forceTx(body))

    async def freeze(self, sign_transaction: SignTransaction, sender: bytes) -> str:
        """End a rollup whose inbox nobody executes; returns and raises as `force_tx`, ``not_overdue`` if too early."""
        return await self._send(sign_transaction, sender, (await self._rollup()).functions.freeze())

    async def exit_account(self, sign_transaction: SignTransaction, sender: bytes, proof: AccountProof) -> str:
        """After a freeze, pay an account out to its owner; returns and raises as `force_tx`."""
        return await self._send(sign_transaction, sender, exit_account_call(await self._rollup(), proof))

    async def exit_channel(
        self,
        sign_transaction: SignTransaction,
        sender: bytes,
        proof: ChannelProof,
        voucher: SignedVoucher | None = None,
    ) -> str:
        """After a freeze, begin a channel's exit or raise it with a voucher; returns and raises as `force_tx`."""
        rollup = await self._rollup()
        has_begun = await self._connection.call(rollup.functions.claimed(channel_key(proof.channel_id)))
        if has_begun and voucher is not None:
            return await self._send(sign_transaction, sender, raise_exit_call(rollup, proof.channel_id, voucher))
        return await self._send(sign_transaction, sender, exit_channel_call(rollup, proof, voucher))

    async def settle_channel_exit(self, sign_transaction: SignTransaction, sender: bytes, channel_id: int) -> str:
        """After its window, pay a channel's rest to both parties; returns and raises as `force_tx`."""
        settle = (await self._rollup()).functions.settleChannelExit(channel_id)
        return await self._send(sign_transaction, sender, settle)

    async def refund_deposit(self, sign_transaction: SignTransaction, sender: bytes, message: InboxMessage) -> str:
        """After a freeze, pay a deposit that no batch executed back to its owner; returns and raises as `force_tx`."""
        return await self._send(sign_transaction, sender, refund_call(await self._rollup(), message))

    async def _rollup(self) -> Any:
        # The inbox's rollup is set in its first block and can't change.
        address = await self._connection.call(self._inbox.functions.rollup())
        return self._connection.contract("Rollup", bytes.fromhex(address[2:]))

    async def _check_gas(self, sender: bytes) -> None:
        if await self.ether_balance_wei(sender) == 0:
            raise ChainRejectedError(
                "The L1 account has no ether to pay for gas.", code="no_gas", fix="Send it a little ether first."
            )

    async def _send(self, sign_transaction: SignTransaction, sender: bytes, function: Any) -> str:
        await self._check_gas(sender)
        receipt = await L1Signer(self._connection, sender, sign_transaction).send(function)
        return "0x" + bytes(receipt["transactionHash"]).hex()
