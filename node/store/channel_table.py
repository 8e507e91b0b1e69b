"""What the two channel tables share: reading rows, raising amounts, moving states on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import aiosqlite
import msgspec

from node.store.base import LIVE_STATES, STATES_IN_ORDER, first_row, placeholders
from node.store.database import Database, Row
from node.store.records import BuyerChannel, ChannelState, ProviderChannel
from node.store.sqlite_errors import StoreError

Record = TypeVar("Record", bound=BuyerChannel | ProviderChannel)


class ChannelTable(Generic[Record]):
    """A table of channels.

    Args:
        name: The table's name in the database.
        record: The type of its rows; the fields are the columns.
    """

    def __init__(self, name: str, record: type[Record]) -> None:
        self._name = name
        self._record = record
        self._columns = ", ".join(record.__struct_fields__)

    async def get(self, database: Database, deployment: str | None, channel_id: int) -> Record | None:
        """One channel by its number."""
        rows = await self.channels(database, deployment, where="channel_id = ?", values=(channel_id,))
        return rows[0] if rows else None

    async def channels(
        self,
        database: Database,
        deployment: str | None,
        *,
        live_only: bool = False,
        where: str = "TRUE",
        values: Sequence[object] = (),
        order: str = "opened_at_ms DESC, rowid DESC",
    ) -> list[Record]:
        """A deployment's channels, newest first; empty before the first binding.

        Args:
            database: The open database.
            deployment: The deployment; ``None`` for none.
            live_only: Whether to leave out channels that hold no money any more.
            where: A further SQL condition.
            values: The parameters of that condition.
            order: The SQL terms to sort by.
        """
        states = LIVE_STATES if live_only else STATES_IN_ORDER
        rows = await database.rows(
            f"SELECT {self._columns} FROM {self._name} WHERE deployment = ? AND state IN ({placeholders(states)}) "
            f"AND {where} ORDER BY {order}",
            (deployment or "", *(state.value for state in states), *values),
        )
        return [self._read(row) for row in rows]

    async def find(
        self, connection: aiosqlite.Connection, deployment: str, column: str, value: object
    ) -> Record | None:
        """Within a transaction, the channel with this value in a unique column."""
        row = await first_row(
            connection,
            f"SELECT {self._columns} FROM {self._name} WHERE deployment = ? AND {column} = ?",
            (deployment, value),
        )
        return None if row is None else self._read(row)

    async def one(self, connection: aiosqlite.Connection, deployment: str, channel_id: int) -> Record:
        """Within a transaction, the channel with this number.

        Raises:
            StoreError: ``unknown_channel``.
        """
        channel = await self.find(connection, deployment, "channel_id", channel_id)
        if channel is None:
            raise unknown_channel()
        return channel

    async def raise_to(
        self, connection: aiosqlite.Connection, deployment: str, channel_id: int, column: str, value: int
    ) -> Record:
        """Within a transaction, raise an amount; a lower value changes nothing.

        Raises:
            StoreError: ``unknown_channel``.
        """
        await connection.execute(
            f"UPDATE {self._name} SET {column} = max({column}, ?) WHERE deployment = ? AND channel_id = ?",
            (value, deployment, channel_id),
        )
        return await self.one(connection, deployment, channel_id)

    async def move_on(
        self, connection: aiosqlite.Connection, deployment: str, channel_id: int, state: ChannelState
    ) -> Record:
        """Within a transaction, move a channel on to a later state; an earlier one changes nothing.

        Raises:
            StoreError: ``unknown_channel``.
        """
        known = await self.one(connection, deployment, channel_id)
        if STATES_IN_ORDER.index(state) <= STATES_IN_ORDER.index(known.state):
            return known
        await connection.execute(
            f"UPDATE {self._name} SET state = ? WHERE deployment = ? AND channel_id = ?",
            (state.value, deployment, channel_id),
        )
        return msgspec.structs.replace(known, state=state)

    def _read(self, row: Row) -> Record:
        values = dict(zip(self._record.__struct_fields__, row, strict=True))
        values["state"] = ChannelState(values["state"])
        return self._record(**values)


def unknown_channel() -> StoreError:
    """The error for a number that no channel here has."""
    return StoreError("That channel is not known here.", code="unknown_channel")
