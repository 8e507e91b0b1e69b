"""How a transaction is laid out, packed and signed: the classes that every kind of transaction builds on."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, ClassVar, Final, Self

import msgspec
from msgspec.structs import astuple

from chain.eip712 import SigningDomain, StructType
from chain.errors import UsageError
from chain.signing import ADDRESS_BYTES, SIGNATURE_BYTES

SIGNATURE_FORMAT: Final = f"{SIGNATURE_BYTES}s"


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
    COLLECT_FEES = 14
    PRUNE = 15


class TxBody(msgspec.Struct, frozen=True, gc=False):
    """The fields of a transaction in the order in which they are sent."""

    KIND: ClassVar[str]
    TYPE: ClassVar[TxType]
    SIZE: ClassVar[int]
    """Bytes of the whole transaction."""

    FORMATS: ClassVar[tuple[str, ...]]
    """The packed forms of the fields, and of the signature where there is one, as :mod:`struct` writes them."""
    LAYOUT: ClassVar[struct.Struct]

    def __init_subclass__(cls) -> None:
        if "FORMATS" in cls.__dict__:
            cls._lay_out()

    @classmethod
    def _lay_out(cls) -> None:
        cls.LAYOUT = struct.Struct(">B" + "".join(cls.FORMATS))
        cls.SIZE = cls.LAYOUT.size

    def _values(self) -> tuple[Any, ...]:
        """The fields as they are sent."""
        return astuple(self)

    @classmethod
    def read(cls, raw: bytes) -> tuple[Self, bytes]:
        """The body and the signature (empty where there is none) of as many bytes as ``SIZE`` says."""
        return cls._of(cls.LAYOUT.unpack(raw)[1:]), b""

    @classmethod
    def _of(cls, values: tuple[Any, ...]) -> Self:
        """The body of the fields as they were sent."""
        return cls(*values)

    def _pack(self, *tail: bytes) -> bytes:
        values = (*self._values(), *tail)
        for form, value in zip(self.FORMATS, values, strict=True):
            # struct pads and cuts bytes silently.
            if form == "20s" and len(value) != 20:
                raise UsageError("An address has 20 bytes.", code="bad_address")
            if form == "32s" and len(value) != 32:
                raise UsageError("A hash has 32 bytes.", code="bad_hash")
            if form == SIGNATURE_FORMAT and len(value) != SIGNATURE_BYTES:
                raise UsageError("A signature has 64 bytes.", code="bad_signature")
        try:
            return self.LAYOUT.pack(self.TYPE, *values)
        except struct.error:
            raise _does_not_fit() from None


class UnsignedTx(TxBody, frozen=True):
    """A transaction that anyone may send, since nothing in it needs anyone's word."""

    def encode(self) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field does not fit its width.
        """
        return self._pack()


class SignedTx(TxBody, frozen=True):
    """A transaction that ends in a signature over an EIP-712 struct of its fields.

    Numbers of accounts and channels may come to name somebody else, and a sequencer may say a wrong one. So where a
    transaction pays or changes what a number names, its struct binds an address besides: signed, not sent, since the
    state has it.
    """

    STRUCT: ClassVar[bytes]
    TYPED: ClassVar[StructType]
    BOUND: ClassVar[str] = ""
    """The struct's member that is such an address; empty where there is none."""
    _BOUND_AT: ClassVar[int] = -1

    def __init_subclass__(cls) -> None:
        if "STRUCT" in cls.__dict__:
            cls.TYPED = StructType(cls.STRUCT)
            members = zip(cls.TYPED.names, cls.TYPED.packed_formats, strict=True)
            if "FORMATS" not in cls.__dict__:
                cls.FORMATS = (*(form for name, form in members if name not in ("nonce", cls.BOUND)), SIGNATURE_FORMAT)
            cls._BOUND_AT = cls.TYPED.names.index(cls.BOUND) if cls.BOUND else -1
            cls._lay_out()

    def encode(self, signature: bytes) -> bytes:
        """The transaction's bytes.

        Raises:
            UsageError: If a field or the signature does not fit its width.
        """
        return self._pack(signature)

    @classmethod
    def read(cls, raw: bytes) -> tuple[Self, bytes]:
        """The body and the signature of as many bytes as ``SIZE`` says."""
        values = cls.LAYOUT.unpack(raw)
        return cls._of(values[1:-1]), values[-1]

    def _signed_values(self) -> tuple[Any, ...]:
        """The fields as they are signed."""
        return astuple(self)

    def _digest(self, domain: SigningDomain, bound: bytes, *nonce: int) -> bytes:
        values, at = self._signed_values(), self._BOUND_AT
        # struct pads and cuts bytes silently.
        if len(bound) != (0 if at < 0 else ADDRESS_BYTES):
            raise UsageError("This kind of transaction is signed with an address, or without one.", code="bad_address")
        if at >= 0:
            values = (*values[:at], bound, *values[at:])
        try:
            return domain.digest(self.TYPED.hash(*values, *nonce))
        except struct.error:
            raise _does_not_fit() from None


class NoncedTx(SignedTx, frozen=True):
    """Signed together with the nonce of the account that pays for it."""

    def digest(self, domain: SigningDomain, nonce: int, bound: bytes = b"") -> bytes:
        """What the sender (of a channel's transaction: the payer) signs.

        Args:
            domain: The deployment's.
            nonce: The sender's.
            bound: The address that ``BOUND`` names, from whoever is meant and never from a sequencer; empty where the
                kind has none.

        Raises:
            UsageError: If a field does not fit its width, or the address is missing.
        """
        return self._digest(domain, bound, nonce)


class SingleUseTx(SignedTx, frozen=True):
    """Signed without a nonce, since the channel's state lets it count once."""

    def digest(self, domain: SigningDomain, bound: bytes = b"") -> bytes:
        """What the channel's voucher key or its payee signs.

        Args:
            domain: The deployment's.
            bound: The address that ``BOUND`` names; empty where the kind has none.

        Raises:
            UsageError: If a field does not fit its width, or the address is missing.
        """
        return self._digest(domain, bound)


def _does_not_fit() -> UsageError:
    return UsageError("A number, amount or time of this transaction does not fit its width.", code="out_of_range")
