"""Signed approvals of an asset (EIP-2612): what an owner signs, and whether an asset takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.answers import integer
from chain.l1.connection import L1Connection, checksum
from chain.signing import keccak256
from chain.text import MAX_TEXT_CHARS

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_PERMIT_TYPE = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"

NO_DEADLINE = 2**256 - 1
"""The inbox takes units from its caller only, so that an approval which nobody used yet harms nobody later."""

SignDigest = Callable[[bytes], bytes]
"""Signs a 32-byte digest; returns the 64 bytes of EIP-2098."""


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner signs so that a spender may take units, once."""

    domain_separator: bytes
    owner: bytes
    spender: bytes
    units: int
    nonce: int
    deadline_s: int = NO_DEADLINE

    def digest(self) -> bytes:
        """The 32 bytes to sign."""
        words = (self.owner, self.spender, *(_word(n) for n in (self.units, self.nonce, self.deadline_s)))
        content = keccak256(keccak256(_PERMIT_TYPE) + b"".join(word.rjust(32, b"\0") for word in words))
        return keccak256(b"\x19\x01" + self.domain_separator + content)


def domain_separator(name: str, version: str, chain_id: int, asset: bytes) -> bytes:
    """The EIP-712 domain of an asset as OpenZeppelin's and Circle's contracts have it."""
    parts = (keccak256(name.encode()), keccak256(version.encode()), _word(chain_id), asset.rjust(32, b"\0"))
    return keccak256(keccak256(_DOMAIN_TYPE) + b"".join(parts))


def split_signature(signature: bytes) -> tuple[int, bytes, bytes]:
    """``v``, ``r`` and ``s`` of the 64 bytes of EIP-2098."""
    second = int.from_bytes(signature[32:], "big")
    return 27 + (second >> 255), signature[:32], _word(second & ((1 << 255) - 1))


async def read_permit(
    connection: L1Connection, asset: Any, *, owner: bytes, spender: bytes, units: int
) -> Permit | None:
    """What the owner would have to sign now; ``None`` where the asset takes no signed approvals.

    The domain is computed here, from the L1's chain id and the asset's own address: a separator that an L1 merely
    told could be that of another asset, where the signature would move other money.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
    """
    functions, address = asset.functions, bytes.fromhex(asset.address[2:])
    try:
        # In the block to come: another deposit on its way uses up a permit too.
        nonce = integer(await connection.call_pending(functions.nonces(checksum(owner))))
        separator = bytes(await connection.call(functions.DOMAIN_SEPARATOR()))
        name = await connection.call(functions.name())
    except ChainRejectedError:
        return None
    except ChainUnavailableError as error:
        # A contract without these methods may also answer with nothing at all.
        if error.code == "chain_bad_answer":
            return None
        raise
    try:
        version = await connection.call(functions.version())
    except (ChainRejectedError, ChainUnavailableError):
        version = "1"
    if not isinstance(name, str) or not isinstance(version, str) or len(name) + len(version) > MAX_TEXT_CHARS:
        return None
    chain_id = integer(await connection.request(lambda: connection.web3.eth.chain_id))
    if separator != domain_separator(name, version, chain_id, address):
        return None
    return Permit(domain_separator=separator, owner=owner, spender=spender, units=units, nonce=nonce)


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
