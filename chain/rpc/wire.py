"""How views travel in JSON, and how answers are read back: the one boundary on both sides.

Amounts (fields that end in ``_nano`` or ``_wei``) are decimal strings, since JavaScript's numbers end at 2⁵³. What
comes back from a server is hostile until every field has been checked here: its shape, its size, and its characters.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from chain.errors import ChainUnavailableError
from chain.signing import parse_address
from chain.text import MAX_TEXT_CHARS, plain_text

T = TypeVar("T")

MAX_LIST_ITEMS = 1_000
MAX_DEPTH = 6
MAX_AMOUNT_DIGITS = 78
_MOST_NANO = 2**128 - 1
"""No balance has more: leaves keep 16 bytes."""
_AMOUNT_SUFFIXES = ("_nano", "_wei")
_ADDRESSES = {
    "address",
    "asset_address",
    "attester",
    "inbox_address",
    "payee",
    "payer",
    "recipient",
    "rollup_address",
    "signer",
}
_HASHES = {
    "batch_hash",
    "claim_l1_tx",
    "deployment",
    "deployment_salt",
    "head_state_root",
    "l1_tx",
    "l2_tx",
    "post_state_root",
    "pre_state_root",
    "siblings",
    "state_root",
}
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)


def to_wire(value: Any) -> Any:
    """A view, or a list of them, as JSON values."""
    return _amounts_to_text(msgspec.to_builtins(value))


def from_wire(value: Any, kind: type[T]) -> T:
    """Read an answer as a view type.

    Raises:
        ChainUnavailableError: With code ``chain_bad_answer`` if it is anything but a well-formed value of the type.
    """
    try:
        return msgspec.convert(_checked(value, "", 0), kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise bad_answer() from error


def bad_answer() -> ChainUnavailableError:
    """The server sent something that no honest server sends."""
    return ChainUnavailableError(
        "The chain's answer can't be understood.",
        code="chain_bad_answer",
        fix="Check that the address is a rollup RPC of this version.",
    )


def _amounts_to_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_amounts_to_text(item) for item in value]
    if isinstance(value, dict):
        return {
            name: str(item) if name.endswith(_AMOUNT_SUFFIXES) and isinstance(item, int) else _amounts_to_text(item)
            for name, item in value.items()
        }
    return value


def _checked(value: Any, name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {str(key): _checked(item, str(key), depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > MAX_LIST_ITEMS:
            raise ValueError("too many items")
        return [_checked(item, name, depth + 1) for item in value]
    if isinstance(value, str):
        return _checked_text(value, name)
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith(_AMOUNT_SUFFIXES) or not 0 <= value < 2**64:
            raise ValueError("a number is out of range")
    elif value is not None and not isinstance(value, bool):
        raise ValueError("not a value of any view")
    return value


def _checked_text(value: str, name: str) -> str | int:
    if name.endswith(_AMOUNT_SUFFIXES):
        if not 0 < len(value) <= MAX_AMOUNT_DIGITS or not (value.isascii() and value.isdigit()):
            raise ValueError("not an amount")
        amount = int(value)
        if name.endswith("_nano") and amount > _MOST_NANO:
            raise ValueError("an amount is out of range")
        return amount
    if len(value) > MAX_TEXT_CHARS:
        raise ValueError("a text is too long")
    if name in _ADDRESSES:
        parse_address(value)
    elif name in _HASHES and _HASH.fullmatch(value) is None:
        raise ValueError("not a hash")
    return plain_text(value)
