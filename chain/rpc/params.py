"""Reading the parameters of a call: bounded, typed, and refused with one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from chain.errors import UsageError
from chain.signing import SIGNATURE_BYTES, parse_address
from chain.txs import MAX_TX_BYTES
from chain.types import MAX_U64, REGION_CAPACITY

MAX_LIMIT = 500
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_BLOCK_TAGS = frozenset({"latest", "pending", "earliest", "safe", "finalized"})
_REQUIRED = object()


class Param(NamedTuple):
    """One parameter: its name, how it is read, and what it is when left out."""

    name: str
    read: Callable[[Any], Any]
    default: Any = _REQUIRED


def read_params(specs: tuple[Param, ...], given: Any) -> list[Any]:
    """The values of a call's parameters, given by position or by name.

    Raises:
        UsageError: With code ``bad_params`` if one is missing, unknown or wrong.
    """
    if given is None:
        given = []
    if isinstance(given, dict):
        unknown = given.keys() - {spec.name for spec in specs}
        values = [given.get(spec.name, _REQUIRED) for spec in specs]
    elif isinstance(given, list):
        unknown = set(map(str, range(len(specs), len(given))))
        values = [given[place] if place < len(given) else _REQUIRED for place in range(len(specs))]
    else:
        raise _bad("params must be a list or an object")
    if unknown:
        raise _bad("too many or unknown parameters")
    return [_read(spec, value) for spec, value in zip(specs, values, strict=True)]


def _read(spec: Param, value: Any) -> Any:
    if value is _REQUIRED:
        if spec.default is _REQUIRED:
            raise _bad(f"{spec.name} is missing")
        return spec.default
    try:
        return spec.read(value)
    except ValueError as error:
        raise _bad(f"{spec.name} {error}") from None


def _bad(reason: str) -> UsageError:
    return UsageError(f"Bad parameters: {reason}.", code="bad_params")


def address(value: Any) -> bytes:
    """A 20-byte address."""
    if not isinstance(value, str):
        raise ValueError("must be an address")
    try:
        return parse_address(value)
    except ValueError:
        raise ValueError("must be an address, its checksum right if it has mixed case") from None


def tx_hash(value: Any) -> bytes:
    """A 32-byte hash."""
    data = _data(value, 32)
    if len(data) != 32:
        raise ValueError("must be a 32-byte hash")
    return data


def transaction(value: Any) -> bytes:
    """A transaction's bytes."""
    data = _data(value, MAX_TX_BYTES)
    if not data:
        raise ValueError("must not be empty")
    return data


def number(value: Any) -> int:
    """The number of an account, channel, withdrawal or batch."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < REGION_CAPACITY:
        raise ValueError("must be a whole number below 2^30")
    return value


def u64(value: Any) -> int:
    """A second, a nonce, or whatever else has 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_U64:
        raise ValueError("must be a whole number below 2^64")
    return value


def amount(value: Any) -> int:
    """An amount in nano, written as a decimal string like every amount here."""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ValueError("must be an amount in nano, as a decimal string")
    return u64(int(value))


def signature(value: Any) -> bytes:
    """A signature of 64 bytes."""
    data = _data(value, SIGNATURE_BYTES)
    if len(data) != SIGNATURE_BYTES:
        raise ValueError("must be a signature of 64 bytes")
    return data


def limit(value: Any) -> int:
    """How many rows to answer with."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_LIMIT:
        raise ValueError(f"must be from 1 to {MAX_LIMIT}")
    return value


def proof_kind(value: Any) -> str:
    """Which region a proof is of."""
    if value not in ("account", "channel", "withdrawal"):
        raise ValueError("must be account, channel or withdrawal")
    return str(value)


def block_tag(value: Any) -> str:
    """A block that Ethereum wallets ask about; there is one state here, the head's."""
    if not isinstance(value, str) or not (value in _BLOCK_TAGS or re.fullmatch(r"0x[0-9a-fA-F]{1,64}", value)):
        raise ValueError("must be a block")
    return value


def _data(value: Any, max_bytes: int) -> bytes:
    if not isinstance(value, str) or len(value) > 2 + 2 * max_bytes or _HEX.fullmatch(value) is None:
        raise ValueError(f"must be 0x and at most {max_bytes} bytes in hex")
    return bytes.fromhex(value[2:])
