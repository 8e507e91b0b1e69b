"""L2 transactions: their bodies, what their senders sign, and their bytes.

Every body is ``type1 ‖ fields (big-endian) ‖ signature64`` as the table in ``docs/rollup.md`` has it. What is signed
is an EIP-712 struct of the same fields in the same order, mostly with the sender's nonce after them, and with the
address that a number is to name; nonce and address are not sent, since the state's leaves have them. So a class names
its struct and its fields once, and the rest follows.

A client builds a transaction in three steps::

    tx = Transfer(sender=3, receiver=7, amount_nano=5_000, fee_nano=100)
    signature = sign_digest(private_key, tx.digest(domain, nonce, address_of_account_7))
    raw = tx.encode(signature)          # what RollupClient.submit() takes; tx_id(raw) is its hash

Closing a channel together takes the payee's signature alone, so it may not move money:
``CloseTogether.cumulative_nano`` must equal what the channel has *already* redeemed. The payee redeems its best
voucher, then signs the close; with that it gives up every later voucher and the rest returns to the payer at once.
Thus the payee can't take more than the payer's vouchers promised, the payer can't close below what the payee signed
for, and a later redeem voids an unused close.
"""

from __future__ import annotations

from typing import Any, Self, get_args

import msgspec
from msgspec.structs import astuple

from chain.eip712 import RECEIPT_TYPE, VOUCHER_TYPE, StructType
from chain.errors import UsageError
from chain.signing import keccak256
from chain.tx_format import SIGNATURE_FORMAT, NoncedTx, SignedTx, SingleUseTx, TxType, UnsignedTx


class TxFormatError(UsageError):
    """Bytes that are no transaction; ``is_unknown_type`` tells an unknown type from a malformed body."""

    default_code = "malformed_transaction"

    def __init__(self, message: str, *, is_unknown_type: bool = False) -> None:
        super().__init__(message)
        self.is_unknown_type = is_unknown_type


class CreateAccount(UnsignedTx, frozen=True):
    """Allocate an account for ``owner`` (20 bytes); needs no signature. 21 bytes."""

    KIND = "create_account"
    TYPE = TxType.CREATE_ACCOUNT
    FORMATS = ("20s",)

    owner: bytes


class Transfer(NoncedTx, frozen=True):
    """Move ``amount_nano`` from account number ``sender`` to account number ``receiver``. 85 bytes.

    Signed with the address that owns the receiver's account.
    """

    KIND = "transfer"
    TYPE = TxType.TRANSFER
    STRUCT = b"Transfer(uint32 from,uint32 to,address recipient,uint64 amount,uint32 fee,uint64 nonce)"
    BOUND = "recipient"

    sender: int
    receiver: int
    amount_nano: int
    fee_nano: int


class Withdraw(NoncedTx, frozen=True):
    """Move ``amount_nano`` from account number ``sender`` to the L1 address ``recipient`` (20 bytes). 101 bytes."""

    KIND = "withdraw"
    TYPE = TxType.WITHDRAW
    STRUCT = b"Withdraw(uint32 from,uint64 amount,uint32 fee,address to,uint64 nonce)"

    sender: int
    amount_nano: int
    fee_nano: int
    recipient: bytes


class OpenChannel(NoncedTx, frozen=True):
    """Put ``amount_nano`` of account ``sender`` into a channel to account ``payee``. 113 bytes.

    Vouchers are signed by the key of ``signer`` (20-byte address), and redeemed before ``expiry_s`` of L2 time.
    Signed with the address that owns the payee's account.
    """

    KIND = "open_channel"
    TYPE = TxType.OPEN_CHANNEL
    STRUCT = (
        b"OpenChannel(uint32 from,uint32 payee,address payeeOwner,address signer,uint64 amount,uint64 expiry,"
        b"uint32 fee,uint64 nonce)"
    )
    BOUND = "payeeOwner"

    sender: int
    payee: int
    signer: bytes
    amount_nano: int
    expiry_s: int
    fee_nano: int


class TopUp(NoncedTx, frozen=True):
    """Add ``amount_nano`` of the payer's balance to its channel. 81 bytes.

    Signed with the channel's voucher address.
    """

    KIND = "top_up"
    TYPE = TxType.TOP_UP
    STRUCT = b"TopUp(uint32 channel,address signer,uint64 amount,uint32 fee,uint64 nonce)"
    BOUND = "signer"

    channel: int
    amount_nano: int
    fee_nano: int


class Redeem(SingleUseTx, frozen=True):
    """Credit the payee with what a voucher promises beyond what was redeemed before. 77 bytes; anyone may send it.

    Its signature is the voucher's own, by the channel's voucher key; ``cumulative_nano`` only grows.
    """

    KIND = "redeem"
    TYPE = TxType.REDEEM
    STRUCT = VOUCHER_TYPE

    channel: int
    cumulative_nano: int


class CloseTogether(SingleUseTx, frozen=True):
    """End a channel at once by the payee's signature. 77 bytes; anyone may send it.

    ``cumulative_nano`` must equal the channel's redeemed amount; the rest returns to the payer. A channel closes once,
    and its id dies with it. Signed with the channel's voucher address, which no other channel has.
    """

    KIND = "close_together"
    TYPE = TxType.CLOSE_TOGETHER
    STRUCT = b"CloseTogether(uint32 channel,address signer,uint64 cumulative)"
    BOUND = "signer"

    channel: int
    cumulative_nano: int


class StartClose(NoncedTx, frozen=True):
    """Begin a close by the payer alone; ``Expire`` ends it after the close delay, redeems win until then. 69 bytes.

    Signed with the channel's voucher address.
    """

    KIND = "start_close"
    TYPE = TxType.START_CLOSE
    STRUCT = b"StartClose(uint32 channel,address signer,uint64 nonce)"
    BOUND = "signer"

    channel: int


class Expire(UnsignedTx, frozen=True):
    """Return the remainder of a channel whose time has run out to its payer. 5 bytes; anyone may send it."""

    KIND = "expire"
    TYPE = TxType.EXPIRE
    FORMATS = ("I",)

    channel: int


class Stake(NoncedTx, frozen=True):
    """Move ``amount_nano`` of an account's balance into its stake, which stands behind its receipts. 81 bytes."""

    KIND = "stake"
    TYPE = TxType.STAKE
    STRUCT = b"Stake(uint32 from,uint64 amount,uint32 fee,uint64 nonce)"

    sender: int
    amount_nano: int
    fee_nano: int


class Unstake(NoncedTx, frozen=True):
    """Start to take ``amount_nano`` out of an account's stake; it stays slashable for the unstake delay. 81 bytes."""

    KIND = "unstake"
    TYPE = TxType.UNSTAKE
    STRUCT = b"Unstake(uint32 from,uint64 amount,uint32 fee,uint64 nonce)"

    sender: int
    amount_nano: int
    fee_nano: int


class FinishUnstake(UnsignedTx, frozen=True):
    """Return what an account has been unstaking to its balance, once the delay is over. 5 bytes; anyone may send it."""

    KIND = "finish_unstake"
    TYPE = TxType.FINISH_UNSTAKE
    FORMATS = ("I",)

    sender: int


class ReceiptEvidence(msgspec.Struct, frozen=True):
    """One signed receipt, as far as a contradiction needs it."""

    content_hash: bytes
    """EIP-712's ``hashStruct`` of its ``ReceiptContent``; 32 bytes."""
    signature: bytes
    """The provider's; 64 bytes."""


_RECEIPT = StructType(RECEIPT_TYPE)
_HEAD_FIELDS = 4


class Slash(SingleUseTx, frozen=True):
    """Take the stake of a provider that signed two different receipts for one request. 273 bytes; anyone may send it.

    Half goes to account number ``reporter``, whose owner signs it with the provider's address; half is burnt. Receipts
    of channels older than the stake prove nothing.
    """

    KIND = "slash"
    TYPE = TxType.SLASH
    STRUCT = (
        b"Slash(uint32 provider,address owner,uint32 reporter,uint32 channel,uint32 sequence,bytes32 first,"
        b"bytes32 second)"
    )
    BOUND = "owner"
    FORMATS = ("I",) * _HEAD_FIELDS + ("32s", SIGNATURE_FORMAT) * 2 + (SIGNATURE_FORMAT,)

    provider: int
    reporter: int
    channel: int
    sequence: int
    first: ReceiptEvidence
    second: ReceiptEvidence

    def receipt_hash(self, evidence: ReceiptEvidence, owner: bytes) -> bytes:
        """EIP-712's ``hashStruct`` of one of the two receipts, where the provider's account is ``owner``'s."""
        return _RECEIPT.hash(self.channel, self.sequence, owner, evidence.content_hash)

    def _values(self) -> tuple[Any, ...]:
        return (*self._head(), *astuple(self.first), *astuple(self.second))

    def _signed_values(self) -> tuple[Any, ...]:
        return (*self._head(), self.first.content_hash, self.second.content_hash)

    def _head(self) -> tuple[int, int, int, int]:
        return self.provider, self.reporter, self.channel, self.sequence

    @classmethod
    def _of(cls, values: tuple[Any, ...]) -> Self:
        provider, reporter, channel, sequence, *receipts = values
        return cls(
            provider, reporter, channel, sequence, ReceiptEvidence(*receipts[:2]), ReceiptEvidence(*receipts[2:])
        )


class CollectFees(UnsignedTx, frozen=True):
    """Move every fee in the pool to ``account``. 5 bytes; only who posts a batch may: by force it has no type."""

    KIND = "collect_fees"
    TYPE = TxType.COLLECT_FEES
    FORMATS = ("I",)

    account: int


class Prune(UnsignedTx, frozen=True):
    """Remove an account that holds nothing and is no party to a channel. 5 bytes; anyone may send it.

    Its number is never used again, so that nothing ever signed for it can mean another account.
    """

    KIND = "prune"
    TYPE = TxType.PRUNE
    FORMATS = ("I",)

    account: int


Tx = (
    CreateAccount
    | Transfer
    | Withdraw
    | OpenChannel
    | TopUp
    | Redeem
    | CloseTogether
    | StartClose
    | Expire
    | Stake
    | Unstake
    | FinishUnstake
    | Slash
    | CollectFees
    | Prune
)

_BODIES: dict[int, type[Tx]] = {body.TYPE: body for body in get_args(Tx)}

TX_SIZES: dict[int, int] = {tx_type: body.SIZE for tx_type, body in _BODIES.items()}
"""Bytes of a transaction by its type."""

MAX_TX_BYTES = max(TX_SIZES.values())


def decode(raw: bytes) -> tuple[Tx, bytes]:
    """Read one transaction: its body and its 64-byte signature (empty where the type has none).

    Raises:
        TxFormatError: If the bytes are no transaction, or more than one.
    """
    if not raw:
        raise TxFormatError("An empty transaction has no type.")
    body = _BODIES.get(raw[0])
    if body is None:
        raise TxFormatError("This transaction's type is unknown.", is_unknown_type=True)
    if len(raw) != body.SIZE:
        raise TxFormatError("This transaction's length does not fit its type.")
    return body.read(raw)


def kind_of(raw: bytes) -> str:
    """The kind of a transaction that ``decode`` reads, as RPC answers name it."""
    return _BODIES[raw[0]].KIND


def tx_id(raw: bytes) -> bytes:
    """The 32-byte hash by which a sequenced transaction is known; in RPC answers it is ``l2_tx``, as ``0x`` hex."""
    return keccak256(raw)


def inbox_tx_id(message_index: int) -> bytes:
    """The ``l2_tx`` of an L1 inbox message, which has no transaction bytes of its own."""
    return keccak256(b"inbox" + message_index.to_bytes(8, "big"))


def is_signed(tx_type: int) -> bool:
    """Whether transactions of this type end in a signature."""
    return issubclass(_BODIES[tx_type], SignedTx)
