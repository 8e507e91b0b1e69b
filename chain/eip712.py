"""EIP-712 hashing of everything that is signed here: L2 transactions, vouchers, and the structs of other layers.

Source: https://eips.ethereum.org/EIPS/eip-712. eth-account is the oracle this is tested against.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from chain.signing import Keccak256, keccak256, parse_address

DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
DOMAIN_NAME = b"Idlewatt"
DOMAIN_VERSION = b"1"

_SALT = re.compile(r"0x[0-9a-f]{64}", re.ASCII)

VOUCHER_TYPE = b"Voucher(uint32 channel,uint64 cumulative)"
"""``cumulative`` is nano since the channel's opening, never an increment."""

RECEIPT_CONTENT_TYPE = (
    b"ReceiptContent(bytes32 model,bytes32 engineBuild,bytes32 promptHash,bytes32 outputHash,uint32 inputTokens,"
    b"uint32 outputTokens,uint64 cumulative,uint64 seed,bytes32 fingerprint,uint64 startedMs,uint64 finishedMs)"
)
"""What a receipt says, whose hash is enough to prove that two say different things."""

RECEIPT_TYPE = b"Receipt(uint32 channel,uint32 sequence,address provider,ReceiptContent content)" + RECEIPT_CONTENT_TYPE
"""What a provider signs about one request; two different ones for one number are what its stake is slashed for."""


@dataclass(frozen=True)
class SigningDomain:
    """What binds a signature to one deployment on one L1."""

    l1_chain_id: int
    rollup_address: bytes
    """20 bytes. It depends on the deployer and its nonce alone, so the same one exists on other chains."""
    salt: bytes
    """32 bytes that the contract took from its L1's history when it was deployed, so that neither a fork with the same
    chain id nor a chain that was reset gives another deployment the same domain."""

    @classmethod
    def of_texts(cls, l1_chain_id: int, rollup_address: str, salt: str) -> SigningDomain:
        """The domain that an RPC answer describes.

        Raises:
            ValueError: If the address or the salt is none.
        """
        if _SALT.fullmatch(salt) is None:
            raise ValueError("a salt is 0x and 64 hex digits")
        return cls(l1_chain_id, parse_address(rollup_address), bytes.fromhex(salt[2:]))

    @cached_property
    def separator(self) -> bytes:
        """The 32-byte domain separator."""
        return keccak256(
            keccak256(DOMAIN_TYPE)
            + keccak256(DOMAIN_NAME)
            + keccak256(DOMAIN_VERSION)
            + word(self.l1_chain_id)
            + word(self.rollup_address)
            + word(self.salt)
        )

    @cached_property
    def _prefix(self) -> bytes:
        return b"\x19\x01" + self.separator

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for a struct: ``keccak(0x1901 ‖ separator ‖ hashStruct)``."""
        return Keccak256(self._prefix + struct_hash).digest()  # type: ignore[no-any-return, unused-ignore]


def word(value: int | bytes) -> bytes:
    """An atomic value as a 32-byte word: unsigned integers and addresses right-aligned, ``bytes32`` as it is.

    Raises:
        OverflowError: If an integer is negative or has more than 256 bits.
        ValueError: If the bytes are longer than a word.
    """
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if len(value) > 32:
        raise ValueError("a word has 32 bytes")
    return value.rjust(32, b"\0")


def hash_struct(type_string: bytes, *fields: int | bytes) -> bytes:
    """``keccak(keccak(type) ‖ word…)`` for a struct of atomic fields (hash dynamic ones before passing them)."""
    return keccak256(keccak256(type_string) + b"".join(map(word, fields)))


class StructType:
    """An EIP-712 struct of atomic fields, compiled so that hashing one is a single packing and a single keccak.

    Args:
        type_string: For example ``b"Voucher(uint32 channel,uint64 cumulative)"``; members may be ``uint32``,
            ``uint64``, ``address``, ``bytes32``, and structs whose types follow: their hashes are given.
    """

    _WORDS: ClassVar[dict[bytes, str]] = {b"uint32": "28xI", b"uint64": "24xQ", b"address": "12x20s", b"bytes32": "32s"}
    _PACKED: ClassVar[dict[bytes, str]] = {b"uint32": "I", b"uint64": "Q", b"address": "20s", b"bytes32": "32s"}

    def __init__(self, type_string: bytes) -> None:
        # A struct within counts by its hash.
        members = [
            (kind if kind in self._WORDS else b"bytes32", name)
            for kind, name in re.findall(rb"[(,](\w+) (\w+)", type_string[: type_string.index(b")")])
        ]
        self.names = tuple(name.decode() for _, name in members)
        self.packed_formats = tuple(self._PACKED[kind] for kind, _ in members)
        """How each member stands in packed big-endian bytes, as :mod:`struct` writes it."""
        self._encoding = struct.Struct(">32s" + "".join(self._WORDS[kind] for kind, _ in members))
        self._type_hash = keccak256(type_string)

    def hash(self, *values: int | bytes) -> bytes:
        """``hashStruct`` of the values, in the members' order.

        Raises:
            struct.error: If an integer does not fit its member, or values are missing.
        """
        return Keccak256(self._encoding.pack(self._type_hash, *values)).digest()  # type: ignore[no-any-return, unused-ignore]


_VOUCHER = StructType(VOUCHER_TYPE)


def voucher_digest(domain: SigningDomain, channel_id: int, cumulative_nano: int) -> bytes:
    """The 32 bytes that a channel's voucher key signs to promise ``cumulative_nano`` in all."""
    return domain.digest(_VOUCHER.hash(channel_id, cumulative_nano))
