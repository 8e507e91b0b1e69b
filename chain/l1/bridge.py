"""Moves of money between L1 and the rollup, each signed by the user's own wallet.

Deposits, transactions forced past a sequencer that ignores them, and exits after a freeze.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.answers import integer
from chain.l1.connection import L1Connection, L1Signer, SignTransaction, checksum
from chain.l1.exits import exit_account_call, exit_channel_call, raise_exit_call, refund_call
from chain.l1.inbox import check_forced
from chain.l1.permit import SignDigest, read_permit, split_signature
from chain.l1.protocol import AccountProof, ChannelProof, InboxMessage, SignedVoucher
from chain.money import MAX_NANO, AssetUnits
from chain.types import channel_key

NO_INDEX_HINT = 0xFFFFFFFF
"""A deposit's hint where the owner's L2 account is unknown or doesn't exist yet: the rollup allocates one."""
DEPOSIT_TRIES = 8
"""Another program's deposit may use up an approval between its making and its use; then a new one is made."""
_DEPOSIT_PAUSE_S = 0.2
_LOST_RACES = frozenset({"reverted", "asset_transfer_failed", "insufficient_allowance"})


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
        self._units: AssetUnits | None = None
        self._depositing = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    async def asset_balance_nano(self, address: bytes) -> int:
        """The settlement asset that an address holds on L1, rounded down to a nano."""
        units = await self._connection.call(self._asset.functions.balanceOf(checksum(address)))
        return (await self.asset_units()).nano_of(integer(units))

    async def sold(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of these claims (`chain.orders.claim_key`) that somebody took over: they are paid to their buyer."""
        claimants = (await self._rollup()).functions.claimants
        return {key for key in keys if int(await self._connection.call(claimants(key)), 16)}

    async def asset_units(self) -> AssetUnits:
        """How the asset's smallest units and nano convert, as the inbox has it.

        Raises:
            ChainUnavailableError: If L1 can't be reached, or answers nonsense.
        """
        if self._units is None:
            functions = self._inbox.functions
            self._units = AssetUnits(
                units_per_nano=max(1, integer(await self._connection.call(functions.unitsPerNano()))),
                nano_per_unit=max(1, integer(await self._connection.call(functions.nanoPerUnit()))),
            )
        return self._units

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
        sign_digest: SignDigest | None = None,
    ) -> str:
        """Move money from ``sender`` on L1 to ``owner`` on L2, with an approval of exactly that.

        The approval is a signature in the deposit itself where the asset takes one (EIP-2612), else a transaction
        before it. Several deposits of one sender at once, also from other programs, each arrive once.

        Args:
            sign_transaction: Signs one transaction's fields as eth-account takes them; returns it raw.
            sender: The address that pays on L1; 20 bytes.
            owner: The address that is credited on L2; 20 bytes.
            amount_nano: How much, in whole units of the asset.
            index_hint: The owner's L2 account index, if it has one; without it the rollup allocates an account.
            sign_digest: Signs the approval; without it a transaction approves.

        Returns:
            The deposit's L1 transaction hash, once it is mined.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: With code ``insufficient_funds`` or ``no_gas`` where the sender lacks money or ether,
                ``bad_amount`` or ``not_whole_units`` for an amount that can't be deposited.
        """
        if not 0 < amount_nano <= MAX_NANO:
            raise ChainRejectedError(
                "That amount can't be deposited.", code="bad_amount", fix="Deposit more than zero."
            )
        units = (await self.asset_units()).checked_units_of(amount_nano)
        hint = NO_INDEX_HINT if index_hint is None else index_hint
        arguments = (checksum(owner), hint, amount_nano)
        async with self._depositing:
            for attempt in range(1, DEPOSIT_TRIES):
                try:
                    return await self._deposit(sign_transaction, sender, units, arguments, sign_digest)
                except ChainRejectedError as error:
                    if error.code not in _LOST_RACES:
                        raise
                # Two programs that try again in step would lose to each other for ever.
                await asyncio.sleep(random.uniform(0, _DEPOSIT_PAUSE_S * attempt))  # noqa: S311 - no secret
            return await self._deposit(sign_transaction, sender, units, arguments, sign_digest)

    async def _deposit(
        self,
        sign_transaction: SignTransaction,
        sender: bytes,
        units: int,
        arguments: tuple[str, int, int],
        sign_digest: SignDigest | None,
    ) -> str:
        held = integer(await self._connection.call(self._asset.functions.balanceOf(checksum(sender))))
        if held < units:
            raise ChainRejectedError(
                "The L1 account holds less than that.",
                code="insufficient_funds",
                fix="Deposit less, or move the asset to the account first.",
            )
        deposit = await self._deposit_call(sign_transaction, sender, units, arguments, sign_digest)
        return await self._send(sign_transaction, sender, deposit)

    async def _deposit_call(
        self,
        sign_transaction: SignTransaction,
        sender: bytes,
        units: int,
        arguments: tuple[str, int, int],
        sign_digest: SignDigest | None,
    ) -> Any:
        """The deposit as a call, its approval made or in it."""
        if sign_digest is not None:
            permit = await read_permit(
                self._connection, self._asset, owner=sender, spender=self._inbox_address, units=units
            )
            if permit is not None:
                signature = split_signature(sign_digest(permit.digest()))
                return self._inbox.functions.depositWithPermit(*arguments, permit.deadline_s, *signature)
        spender = checksum(self._inbox_address)
        allowance = self._asset.functions.allowance(checksum(sender), spender)
        allowed = integer(await self._connection.call_pending(allowance))
        if allowed < units:
            if allowed:
                # Some assets (USDT) change an allowance only from or to nothing.
                await self._send(sign_transaction, sender, self._asset.functions.approve(spender, 0))
            await self._send(sign_transaction, sender, self._asset.functions.approve(spender, units))
        return self._inbox.functions.deposit(*arguments)

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
