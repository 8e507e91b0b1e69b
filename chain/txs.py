"""L2 transactions: their bodies, what their senders sign, and their bytes.

Every body is ``type1 ‖ fields (big-endian) ‖ signature64`` as the table in ``docs/rollup.md`` has it. What is signed
is an EIP-712 struct with the sender's nonce in it; the nonce itself is not sent, since the state leaf has it.

A client builds a transaction in three steps::

    tx = Transfer(sender=3, receiver=7, amount_nano=5_000, fee_nano=100)
    signature = sign_digest(private_key, tx.digest(domain, nonce))
    raw = tx.encode(signature)          # what RollupClient.submit() takes; tx_id(raw) is its hash

Closing a channel together takes the payee's signature alone, so it may not move money:
``CloseTogether.cumulative_nano`` must equal what the channel has *already* redeemed. The payee redeems its best
voucher, then signs the close; with that it gives up every later voucher and the rest returns to the payer at once.
Thus the payee can't take more than the payer's vouchers promised, the payer can't close below what the payee signed
for, and a later redeem voids an unused close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from chain.eip712 import SigningDomain, hash_struct, voucher_digest
from chain.errors import UsageError
from chain.signing import SIGNATURE_BYTES, keccak256
from chain.types import MAX_U32, MAX_U64


class TxType(IntEnum):
    """The first byte of a transaction. 0 is no transaction: it opens an inbox frame's body."""

    CREATE_ACCOUNT = 1
    TRANSFER = 2
    WITHDRAW = 3
    OPEN_CHANNEL = 4
    TOP_UP = 5
    REDEEM = 6
    CLOSE_TOGETHER = 7
    START_CLOSE = 8
    EXPIRE = 9
    STAKE = 10
    UNSTAKE = 11
    FINISH_UNSTAKE = 12
    SLASH = 13
    """10 to 13 are reserved for provider stakes; executing one is code 2, an unknown type."""


class TxFormatError(UsageError):
    """Bytes that are no transaction; ``is_unknown_type`` tells an unknown type from a malformed body."""

    default_code = "malformed_transaction"

    def __init__(self, message: str, *, is_unknown_type: bool = False) -> None:
        super().__init__(message)
        self.is_unknown_type = is_unknown_type


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Allocate an account for ``owner`` (20 bytes); needs no signature. 21 bytes."""

    KIND: ClassVar[str] = "create_account"
    TYPE: ClassVar[int] = TxType.CREATE_ACCOUNT
    SIZE: ClassVar[int] = 21

    owner: bytes

    def encode(self) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field does not fit its width.
        """
        return _pack(self.TYPE, _address(self.owner))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move ``amount_nano`` from account number ``sender`` to account number ``receiver``. 85 bytes."""

    KIND: ClassVar[str] = "transfer"
    TYPE: ClassVar[int] = TxType.TRANSFER
    SIZE: ClassVar[int] = 85
    STRUCT: ClassVar[bytes] = b"Transfer(uint32 from,uint32 to,uint64 amount,uint32 fee,uint64 nonce)"

    sender: int
    receiver: int
    amount_nano: int
    fee_nano: int

    def digest(self, domain: SigningDomain, nonce: int) -> bytes:
        """What the sender signs."""
        return domain.digest(
            hash_struct(self.STRUCT, self.sender, self.receiver, self.amount_nano, self.fee_nano, nonce)
        )

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(
            self.TYPE,
            _u32(self.sender),
            _u32(self.receiver),
            _u64(self.amount_nano),
            _u32(self.fee_nano),
            _signature(signature),
        )


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Move ``amount_nano`` from account number ``sender`` to the L1 address ``recipient`` (20 bytes). 101 bytes."""

    KIND: ClassVar[str] = "withdraw"
    TYPE: ClassVar[int] = TxType.WITHDRAW
    SIZE: ClassVar[int] = 101
    STRUCT: ClassVar[bytes] = b"Withdraw(uint32 from,uint64 amount,uint32 fee,address to,uint64 nonce)"

    sender: int
    amount_nano: int
    fee_nano: int
    recipient: bytes

    def digest(self, domain: SigningDomain, nonce: int) -> bytes:
        """What the sender signs."""
        return domain.digest(
            hash_struct(self.STRUCT, self.sender, self.amount_nano, self.fee_nano, self.recipient, nonce)
        )

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(
            self.TYPE,
            _u32(self.sender),
            _u64(self.amount_nano),
            _u32(self.fee_nano),
            _address(self.recipient),
            _signature(signature),
        )


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """Put ``amount_nano`` of account ``sender`` into a channel to account ``payee``. 113 bytes.

    Vouchers are signed by the key of ``signer`` (20-byte address), and redeemed before ``expiry_s`` of L2 time.
    """

    KIND: ClassVar[str] = "open_channel"
    TYPE: ClassVar[int] = TxType.OPEN_CHANNEL
    SIZE: ClassVar[int] = 113
    STRUCT: ClassVar[bytes] = (
        b"OpenChannel(uint32 from,uint32 payee,address signer,uint64 amount,uint64 expiry,uint32 fee,uint64 nonce)"
    )

    sender: int
    payee: int
    signer: bytes
    amount_nano: int
    expiry_s: int
    fee_nano: int

    def digest(self, domain: SigningDomain, nonce: int) -> bytes:
        """What the payer signs."""
        return domain.digest(
            hash_struct(
                self.STRUCT,
                self.sender,
                self.payee,
                self.signer,
                self.amount_nano,
                self.expiry_s,
                self.fee_nano,
                nonce,
            )
        )

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(
            self.TYPE,
            _u32(self.sender),
            _u32(self.payee),
            _address(self.signer),
            _u64(self.amount_nano),
            _u64(self.expiry_s),
            _u32(self.fee_nano),
            _signature(signature),
        )


@dataclass(frozen=True, slots=True)
class TopUp:
    """Add ``amount_nano`` of the payer's balance to its channel. 81 bytes."""

    KIND: ClassVar[str] = "top_up"
    TYPE: ClassVar[int] = TxType.TOP_UP
    SIZE: ClassVar[int] = 81
    STRUCT: ClassVar[bytes] = b"TopUp(uint32 channel,uint64 amount,uint32 fee,uint64 nonce)"

    channel: int
    amount_nano: int
    fee_nano: int

    def digest(self, domain: SigningDomain, nonce: int) -> bytes:
        """What the payer signs."""
        return domain.digest(hash_struct(self.STRUCT, self.channel, self.amount_nano, self.fee_nano, nonce))

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(self.TYPE, _u32(self.channel), _u64(self.amount_nano), _u32(self.fee_nano), _signature(signature))


@dataclass(frozen=True, slots=True)
class Redeem:
    """Credit the payee with what a voucher promises beyond what was redeemed before. 77 bytes; anyone may send it."""

    KIND: ClassVar[str] = "redeem"
    TYPE: ClassVar[int] = TxType.REDEEM
    SIZE: ClassVar[int] = 77

    channel: int
    cumulative_nano: int

    def digest(self, domain: SigningDomain) -> bytes:
        """The voucher: what the channel's voucher key signed. It has no nonce, since ``cumulative_nano`` only grows."""
        return voucher_digest(domain, self.channel, self.cumulative_nano)

    def encode(self, voucher_signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(self.TYPE, _u32(self.channel), _u64(self.cumulative_nano), _signature(voucher_signature))


@dataclass(frozen=True, slots=True)
class CloseTogether:
    """End a channel at once by the payee's signature. 77 bytes; anyone may send it.

    ``cumulative_nano`` must equal the channel's redeemed amount; the rest returns to the payer.
    """

    KIND: ClassVar[str] = "close_together"
    TYPE: ClassVar[int] = TxType.CLOSE_TOGETHER
    SIZE: ClassVar[int] = 77
    STRUCT: ClassVar[bytes] = b"CloseTogether(uint32 channel,uint64 cumulative)"

    channel: int
    cumulative_nano: int

    def digest(self, domain: SigningDomain) -> bytes:
        """What the payee's account key signs; without a nonce, since a channel closes once and its id dies with it."""
        return domain.digest(hash_struct(self.STRUCT, self.channel, self.cumulative_nano))

    def encode(self, payee_signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(self.TYPE, _u32(self.channel), _u64(self.cumulative_nano), _signature(payee_signature))


@dataclass(frozen=True, slots=True)
class StartClose:
    """Begin a close by the payer alone; ``Expire`` ends it after the close delay, redeems win until then. 69 bytes."""

    KIND: ClassVar[str] = "start_close"
    TYPE: ClassVar[int] = TxType.START_CLOSE
    SIZE: ClassVar[int] = 69
    STRUCT: ClassVar[bytes] = b"StartClose(uint32 channel,uint64 nonce)"

    channel: int

    def digest(self, domain: SigningDomain, nonce: int) -> bytes:
        """What the payer signs."""
        return domain.digest(hash_struct(self.STRUCT, self.channel, nonce))

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return _pack(self.TYPE, _u32(self.channel), _signature(signature))


@dataclass(frozen=True, slots=True)
class Expire:
    """Return the remainder of a channel whose time has run out to its payer. 5 bytes; anyone may send it."""

    KIND: ClassVar[str] = "expire"
    TYPE: ClassVar[int] = TxType.EXPIRE
    SIZE: ClassVar[int] = 5

    channel: int

    def encode(self) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If the channel id does not fit its width.
        """
        return _pack(self.TYPE, _u32(self.channel))


Tx = CreateAccount | Transfer | Withdraw | OpenChannel | TopUp | Redeem | CloseTogether | StartClose | Expire

_FIELDS: dict[int, tuple[Callable[..., Tx], tuple[int, ...]]] = {
    TxType.CREATE_ACCOUNT: (CreateAccount, (20,)),
    TxType.TRANSFER: (Transfer, (4, 4, 8, 4)),
    TxType.WITHDRAW: (Withdraw, (4, 8, 4, 20)),
    TxType.OPEN_CHANNEL: (OpenChannel, (4, 4, 20, 8, 8, 4)),
    TxType.TOP_UP: (TopUp, (4, 8, 4)),
    TxType.REDEEM: (Redeem, (4, 8)),
    TxType.CLOSE_TOGETHER: (CloseTogether, (4, 8)),
    TxType.START_CLOSE: (StartClose, (4,)),
    TxType.EXPIRE: (Expire, (4,)),
}
"""Widths of the fields in bytes, in order; 20 is an address, everything else an unsigned integer."""

TX_SIZES: dict[int, int] = {
    tx.TYPE: tx.SIZE
    for tx in (CreateAccount, Transfer, Withdraw, OpenChannel, TopUp, Redeem, CloseTogether, StartClose, Expire)
}
"""Bytes of a transaction by its type; the types of provider stakes are not executed yet and so are absent."""

MAX_TX_BYTES = max(TX_SIZES.values())

_UNSIGNED = {TxType.CREATE_ACCOUNT, TxType.EXPIRE}


def decode(raw: bytes) -> tuple[Tx, bytes]:
    """Read one transaction: its body and its 64-byte signature (empty where the type has none).

    Raises:
        TxFormatError: If the bytes are no transaction, or more than one.
    """
    if not raw:
        raise TxFormatError("An empty transaction has no type.")
    size = TX_SIZES.get(raw[0])
    if size is None:
        raise TxFormatError("This transaction's type is unknown.", is_unknown_type=True)
    if len(raw) != size:
        raise TxFormatError("This transaction's length does not fit its type.")
    build, widths = _FIELDS[raw[0]]
    values: list[Any] = []
    offset = 1
    for width in widths:
        chunk = raw[offset : offset + width]
        values.append(chunk if width == 20 else int.from_bytes(chunk, "big"))
        offset += width
    return build(*values), raw[offset:]


def tx_id(raw: bytes) -> bytes:
    """The 32-byte hash by which a sequenced transaction is known; in RPC answers it is ``l2_tx``, as ``0x`` hex."""
    return keccak256(raw)


def inbox_tx_id(message_index: int) -> bytes:
    """The ``l2_tx`` of an L1 inbox message, which has no transaction bytes of its own."""
    return keccak256(b"inbox" + message_index.to_bytes(8, "big"))


def is_signed(tx_type: int) -> bool:
    """Whether transactions of this type end in a signature."""
    return tx_type not in _UNSIGNED


def _pack(tx_type: int, *fields: bytes) -> bytes:
    return bytes([tx_type]) + b"".join(fields)


def _u32(value: int) -> bytes:
    if not 0 <= value <= MAX_U32:
        raise UsageError("A number of this transaction does not fit 32 bits.", code="out_of_range")
    return value.to_bytes(4, "big")


def _u64(value: int) -> bytes:
    if not 0 <= value <= MAX_U64:
        raise UsageError("An amount or time of this transaction does not fit 64 bits.", code="out_of_range")
    return value.to_bytes(8, "big")


def _address(value: bytes) -> bytes:
    if len(value) != 20:
        raise UsageError("An address has 20 bytes.", code="bad_address")
    return value


def _signature(value: bytes) -> bytes:
    if len(value) != SIGNATURE_BYTES:
        raise UsageError("A signature has 64 bytes.", code="bad_signature")
    return value
