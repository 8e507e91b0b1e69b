"""The leaves of the L2 state: what an account, a channel, a withdrawal and the meta leaf hold, and where they live.

The state tree has 2³² leaves in four regions, told apart by the top two bits of the *state index*. Everything outside
the tree (transaction bodies, views, vouchers) names a leaf by its number *within* its region. Numbers start at 1 in
every region: 0 is never allocated, so an all-zero field can't name anything.

Encodings are packed big-endian behind a tag byte, and none is 64 bytes long, so no leaf can pass for an inner node.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

MAX_U32 = 2**32 - 1
MAX_U64 = 2**64 - 1
MAX_U128 = 2**128 - 1

REGION_CAPACITY = 1 << 30
"""Leaves in one region."""

FIRST_INDEX = 1
"""The first number that is allocated in each region."""


class Region(IntEnum):
    """The top two bits of a state index."""

    ACCOUNT = 0
    CHANNEL = 1
    WITHDRAWAL = 2
    META = 3


META_KEY = Region.META << 30
"""State index of the one meta leaf."""


def account_key(account: int) -> int:
    """State index of an account number."""
    return account


def channel_key(channel: int) -> int:
    """State index of a channel id."""
    return 1 << 30 | channel


def withdrawal_key(withdrawal: int) -> int:
    """State index of a withdrawal number."""
    return 2 << 30 | withdrawal


_ACCOUNT = struct.Struct(">B20s16sQ16s16sQII")
_CHANNEL = struct.Struct(">BII20s16s16sQQ")
_WITHDRAWAL = struct.Struct(">B20s16sIQ")
_META = struct.Struct(">BIIIQQ16s16s")


# Leaves hold numbers and bytes only, so the garbage collector need not walk a million of them (``gc=False``).


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One account, with the provider's stake that stands behind its receipts."""

    owner: bytes
    balance_nano: int = 0
    nonce: int = 0
    stake_nano: int = 0
    unlocking_nano: int = 0
    """The part of the stake on its way out; slashable until it is back in the balance."""
    unlock_at_s: int = 0
    """When ``unlocking_nano`` may return to the balance; 0 while nothing is on its way."""
    channels: int = 0
    """Open channels that it pays into or is paid from; one to oneself counts twice."""
    slash_from: int = 0
    """Which channel was next when this stake was first put up; receipts of an earlier one don't slash it."""

    def encode(self) -> bytes:
        """``0x01 ‖ owner20 ‖ balance16 ‖ nonce8 ‖ stake16 ‖ unlocking16 ‖ unlockAt8 ‖ channels4 ‖ slashFrom4``."""
        return _ACCOUNT.pack(
            1,
            self.owner,
            self.balance_nano.to_bytes(16, "big"),
            self.nonce,
            self.stake_nano.to_bytes(16, "big"),
            self.unlocking_nano.to_bytes(16, "big"),
            self.unlock_at_s,
            self.channels,
            self.slash_from,
        )


class Channel(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One payment channel; ``payer`` and ``payee`` are account numbers, ``signer`` is the voucher key's address."""

    payer: int
    payee: int
    signer: bytes
    deposit_nano: int
    redeemed_nano: int = 0
    expiry_s: int
    closing_at_s: int = 0
    """When the payer's lone close may be finished; 0 while nobody closes."""

    def encode(self) -> bytes:
        """``0x02 ‖ payer4 ‖ payee4 ‖ signer20 ‖ deposit16 ‖ redeemed16 ‖ expiry8 ‖ closingAt8``."""
        return _CHANNEL.pack(
            2,
            self.payer,
            self.payee,
            self.signer,
            self.deposit_nano.to_bytes(16, "big"),
            self.redeemed_nano.to_bytes(16, "big"),
            self.expiry_s,
            self.closing_at_s,
        )

    def is_over(self, l2_time_s: int) -> bool:
        """Whether the channel's time has run out: expired, or the payer's lone close has waited long enough."""
        return l2_time_s >= self.expiry_s or 0 < self.closing_at_s <= l2_time_s


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Money on its way to L1; the leaf stays, and L1 keeps the nullifier.

    Account and nonce tell what was withdrawn apart from everything else, whatever number the leaf got: a claim on it
    may be sold before it is final, and a rollback may give the number to another.
    """

    recipient: bytes
    amount_nano: int
    account: int
    """Whose money it was; 0 for a deposit that could not be credited."""
    nonce: int
    """Of that account when it withdrew or was slashed; the inbox message's index for a deposit."""

    def encode(self) -> bytes:
        """``0x03 ‖ recipient20 ‖ amount16 ‖ account4 ‖ nonce8``."""
        return _WITHDRAWAL.pack(3, self.recipient, self.amount_nano.to_bytes(16, "big"), self.account, self.nonce)


class Meta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the whole state has once.

    ``supply_nano`` is every nano ever credited by a deposit and not burnt: accounts + stakes + channel remainders +
    fees + the withdrawal leaves (paid ones too, since L2 never learns which were claimed).
    """

    next_account: int = FIRST_INDEX
    next_channel: int = FIRST_INDEX
    next_withdrawal: int = FIRST_INDEX
    inbox_cursor: int = 0
    """Index of the next L1 inbox message to execute."""
    l2_time_s: int = 0
    fee_pool_nano: int = 0
    supply_nano: int = 0

    def encode(self) -> bytes:
        """``0x04 ‖ nextAccount4 ‖ nextChannel4 ‖ nextWithdrawal4 ‖ inboxCursor8 ‖ l2Time8 ‖ feePool16 ‖ supply16``."""
        return _META.pack(
            4,
            self.next_account,
            self.next_channel,
            self.next_withdrawal,
            self.inbox_cursor,
            self.l2_time_s,
            self.fee_pool_nano.to_bytes(16, "big"),
            self.supply_nano.to_bytes(16, "big"),
        )


Leaf = Account | Channel | Withdrawal | Meta


def decode_leaf(data: bytes) -> Leaf:
    """Read a leaf's encoding.

    Raises:
        ValueError: If the tag is unknown or the length does not fit it.
    """
    tag = data[0] if data else 0
    if tag == 1 and len(data) == _ACCOUNT.size:
        _, owner, balance, nonce, stake, unlocking, unlock_at, channels, slash_from = _ACCOUNT.unpack(data)
        return Account(
            owner=owner,
            balance_nano=_int(balance),
            nonce=nonce,
            stake_nano=_int(stake),
            unlocking_nano=_int(unlocking),
            unlock_at_s=unlock_at,
            channels=channels,
            slash_from=slash_from,
        )
    if tag == 2 and len(data) == _CHANNEL.size:
        _, payer, payee, signer, deposit, redeemed, expiry, closing_at = _CHANNEL.unpack(data)
        return Channel(
            payer=payer,
            payee=payee,
            signer=signer,
            deposit_nano=_int(deposit),
            redeemed_nano=_int(redeemed),
            expiry_s=expiry,
            closing_at_s=closing_at,
        )
    if tag == 3 and len(data) == _WITHDRAWAL.size:
        _, recipient, amount, account, nonce = _WITHDRAWAL.unpack(data)
        return Withdrawal(recipient=recipient, amount_nano=_int(amount), account=account, nonce=nonce)
    if tag == 4 and len(data) == _META.size:
        _, next_account, next_channel, next_withdrawal, cursor, l2_time, fees, supply = _META.unpack(data)
        return Meta(
            next_account=next_account,
            next_channel=next_channel,
            next_withdrawal=next_withdrawal,
            inbox_cursor=cursor,
            l2_time_s=l2_time,
            fee_pool_nano=_int(fees),
            supply_nano=_int(supply),
        )
    raise ValueError("not a leaf of the state tree")


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")
