"""The one registry of error codes: what each means, and which status it becomes on each way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeGuard

from chain.errors import table_chain, table_node
from chain.errors.codes import ErrorCode
from chain.errors.entry import ErrorEntry

AREAS: Final[Mapping[str, Mapping[ErrorCode, ErrorEntry]]] = {
    "Home, configuration, commands": table_node.COMMANDS,
    "Wallet": table_node.WALLET,
    "Database": table_node.STORE,
    "Market and sessions": table_node.SESSION,
    "Engine": table_node.ENGINE,
    "Model files and the hub": table_node.HUB,
    "Relay": table_node.RELAY,
    "Chain": table_chain.CHAIN,
    "Contracts on L1": table_chain.CONTRACTS,
}
"""Every entry, by what raises it first."""

ERRORS: Final[Mapping[ErrorCode, ErrorEntry]] = {code: entry for area in AREAS.values() for code, entry in area.items()}
"""Every entry by its code."""


def is_known(word: str) -> TypeGuard[ErrorCode]:
    """Whether a word is one of our codes."""
    return word in ERRORS
