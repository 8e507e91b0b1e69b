"""What the parts of the store share: the database, the current deployment, and small helpers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiosqlite

from node.store.database import MAX_INTEGER, Database, Row
from node.store.records import ChannelState
from node.store.sqlite_errors import StoreError

STATES_IN_ORDER = tuple(ChannelState)
"""A channel's states; it only moves on in this order."""

LIVE_STATES = (ChannelState.OPENING, ChannelState.OPEN, ChannelState.CLOSING)
"""The states in which a channel may hold money."""


class StorePart:
    """Some tables of the shared database.

    Args:
        database: The open database.
        deployment: The chain deployment that is in use; ``None`` before the first binding.
    """

    def __init__(self, database: Database, deployment: str | None) -> None:
        self._database = database
        self._deployment = deployment

    @property
    def deployment(self) -> str | None:
        """The chain deployment in use; channels, receipts and totals belong to it. ``None`` before the first one."""
        return self._deployment

    def _bound(self) -> str:
        if self._deployment is None:
            raise StoreError("No chain is known yet.", code="no_deployment", fix="Connect to a chain first.")
        return self._deployment


def check_range(**numbers: int) -> None:
    """Refuse negative numbers and those that a SQLite integer can't hold.

    Args:
        numbers: Each number under its name, which the error's message says.

    Raises:
        StoreError: ``bad_record``.
    """
    for name, value in numbers.items():
        if not 0 <= value <= MAX_INTEGER:
            raise StoreError(f"A record's {name} is out of range.", code="bad_record")


async def first_row(connection: aiosqlite.Connection, sql: str, parameters: Sequence[Any]) -> Row | None:
    """Within a transaction, the first row of a statement's result, or ``None``."""
    rows = list(await connection.execute_fetchall(sql, parameters))
    return tuple(rows[0]) if rows else None


def placeholders(values: Sequence[object]) -> str:
    """As many SQL placeholders (``?, ?, …``) as there are values."""
    return ", ".join("?" * len(values))
