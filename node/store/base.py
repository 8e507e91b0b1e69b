"""What the store's parts share: the database, the current deployment, and small checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiosqlite

from node.store.database import MAX_INTEGER, Database, Row
from node.store.records import ChannelState
from node.store.sqlite_errors import StoreError

LIFE = tuple(ChannelState)
"""A channel's states in their order."""

LIVE = (ChannelState.OPENING, ChannelState.OPEN, ChannelState.CLOSING)
"""States in which a channel may hold money."""


class StorePart:
    """One table family over the shared database."""

    def __init__(self, database: Database, deployment: str | None) -> None:
        self._database = database
        self._deployment = deployment

    @property
    def deployment(self) -> str | None:
        """The chain deployment that channels, receipts and totals belong to now; ``None`` before the first binding."""
        return self._deployment

    def _bound(self) -> str:
        if self._deployment is None:
            raise StoreError("No chain is known yet.", code="no_deployment", fix="Connect to a chain first.")
        return self._deployment


def check_range(**numbers: int) -> None:
    """Refuse what a SQLite integer can't hold, before money is involved.

    Raises:
        StoreError: ``bad_record``.
    """
    for name, value in numbers.items():
        if not 0 <= value <= MAX_INTEGER:
            raise StoreError(f"A record's {name} is out of range.", code="bad_record")


async def first_row(connection: aiosqlite.Connection, sql: str, parameters: Sequence[Any]) -> Row | None:
    """The first row that a statement gives within a transaction."""
    rows = list(await connection.execute_fetchall(sql, parameters))
    return tuple(rows[0]) if rows else None


def marks(values: Sequence[object]) -> str:
    """As many SQL parameter marks as there are values."""
    return ", ".join("?" * len(values))
