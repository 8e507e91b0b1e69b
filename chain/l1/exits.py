"""Exits after a freeze: the contract's calls for them, and what it has paid already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.l1.connection import checksum
from chain.l1.contracts import ContractsL1
from chain.l1.protocol import AccountProof, ChannelExit, ChannelProof, InboxMessage, SignedVoucher
from chain.types import Account, Withdrawal, channel_key


class ExitsL1(ContractsL1):
    """The part of `RollupL1` that pays out what the last state holds."""

    async def exit_account(self, proof: AccountProof) -> bytes:
        """Pay an account out to its owner; returns the L1 transaction's hash."""
        return await self._send(exit_account_call(self._rollup, proof))

    async def exit_channel(self, proof: ChannelProof, voucher: SignedVoucher | None = None) -> bytes:
        """Begin a channel's exit, or raise it where somebody began it; returns the L1 transaction's hash."""
        has_begun = await self._call(self._rollup.functions.claimed(channel_key(proof.channel_id)))
        if has_begun and voucher is not None:
            return await self._send(raise_exit_call(self._rollup, proof.channel_id, voucher))
        return await self._send(exit_channel_call(self._rollup, proof, voucher))

    async def raise_channel_exit(self, channel_id: int, voucher: SignedVoucher) -> bytes:
        """Bring a higher voucher into a channel's exit that somebody began; returns the L1 transaction's hash."""
        return await self._send(raise_exit_call(self._rollup, channel_id, voucher))

    async def channel_exit(self, channel_id: int) -> ChannelExit | None:
        """How far a channel's exit is; ``None`` if nobody began it."""
        return read_exit(await self._call(self._rollup.functions.channelExits(channel_id)))

    async def settle_channel_exit(self, channel_id: int) -> bytes:
        """Pay a channel's rest to both parties; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.settleChannelExit(channel_id))

    async def refund_deposit(self, message: InboxMessage) -> bytes:
        """Pay a deposit that no batch executed back to its owner; returns the L1 transaction's hash."""
        return await self._send(refund_call(self._rollup, message))

    async def is_refunded(self, message_index: int) -> bool:
        """Whether the deposit in this inbox message was paid back."""
        return bool(await self._call(self._rollup.functions.refunded(message_index)))


def exit_account_call(rollup: Any, proof: AccountProof) -> Any:
    """The call that pays an account out."""
    return rollup.functions.exitAccount(proof.number, _account(proof.account), list(proof.siblings))


def exit_channel_call(rollup: Any, proof: ChannelProof, voucher: SignedVoucher | None) -> Any:
    """The call that begins a channel's exit."""
    channel = proof.channel
    leaf = (
        channel.payer,
        channel.payee,
        checksum(channel.signer),
        channel.deposit_nano,
        channel.redeemed_nano,
        channel.expiry_s,
        channel.closing_at_s,
    )
    fields = (
        leaf,
        list(proof.siblings),
        _account(proof.payer.account),
        list(proof.payer.siblings),
        _account(proof.payee.account),
        list(proof.payee.siblings),
    )
    promised, signature = (voucher.cumulative_nano, voucher.signature) if voucher else (0, b"")
    return rollup.functions.exitChannel(proof.channel_id, fields, promised, signature)


def raise_exit_call(rollup: Any, channel_id: int, voucher: SignedVoucher) -> Any:
    """The call that brings a higher voucher into a channel's exit."""
    return rollup.functions.raiseChannelExit(channel_id, voucher.cumulative_nano, voucher.signature)


def refund_call(rollup: Any, message: InboxMessage) -> Any:
    """The call that pays a deposit back."""
    return rollup.functions.refundDeposit(
        message.index, checksum(message.owner), message.index_hint, message.amount_nano
    )


def read_exit(record: Any) -> ChannelExit | None:
    """The contract's record of a channel's exit."""
    payer, settle_at_s, payee, _, _, to_payer, to_payee = record
    if not settle_at_s:
        return None
    return ChannelExit(
        payer=bytes.fromhex(payer[2:]),
        payee=bytes.fromhex(payee[2:]),
        settle_at_s=settle_at_s,
        to_payer_nano=to_payer,
        to_payee_nano=to_payee,
    )


def claim_call(rollup: Any, batch_id: int, index: int, withdrawal: Withdrawal, siblings: Sequence[bytes]) -> Any:
    """The call that pays a withdrawal."""
    return rollup.functions.claimWithdrawal(batch_id, index, withdrawal_leaf(withdrawal), list(siblings))


def withdrawal_leaf(withdrawal: Withdrawal) -> tuple[Any, ...]:
    """A withdrawal's leaf, as the contract takes it."""
    return checksum(withdrawal.recipient), withdrawal.amount_nano, withdrawal.account, withdrawal.nonce


def _account(account: Account) -> tuple[Any, ...]:
    return (
        checksum(account.owner),
        account.balance_nano,
        account.nonce,
        account.stake_nano,
        account.unlocking_nano,
        account.unlock_at_s,
        account.channels,
        account.slash_from,
    )
