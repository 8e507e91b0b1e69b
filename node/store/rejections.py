"""Why a provider got no jobs, by UTC day."""

from __future__ import annotations

from collections.abc import Mapping

import aiosqlite

from node.store.base import StorePart, check_range
from node.store.history import DAY_MS

__all__ = ["DAY_MS", "Rejections"]


class Rejections(StorePart):
    """Amounts by day and reason: requests, or seconds where the reason is a state and no request."""

    async def add_rejections(self, day_start_ms: int, amounts: Mapping[str, int], *, keep_from_ms: int = 0) -> None:
        """Add to a day's amounts, and forget days before ``keep_from_ms``.

        Raises:
            StoreError: ``bad_record`` if a number is out of range.
        """
        check_range(day_start_ms=day_start_ms, **{f"amount_{reason}": amount for reason, amount in amounts.items()})

        async def add(connection: aiosqlite.Connection) -> None:
            await connection.executemany(
                "INSERT INTO misses (day_start_ms, reason, amount) VALUES (?, ?, ?) "
                "ON CONFLICT (day_start_ms, reason) DO UPDATE SET amount = amount + excluded.amount",
                [(day_start_ms, reason, amount) for reason, amount in amounts.items() if amount],
            )
            await connection.execute("DELETE FROM misses WHERE day_start_ms < ?", (keep_from_ms,))

        await self._database.write(add)

    async def rejections(self, since_ms: int = 0) -> list[tuple[int, str, int]]:
        """Day, reason and amount from that day on, oldest first; the table is still called ``misses``."""
        rows = await self._database.rows(
            "SELECT day_start_ms, reason, amount FROM misses WHERE day_start_ms >= ? ORDER BY day_start_ms, reason",
            (since_ms,),
        )
        return [(int(day), str(reason), int(amount)) for day, reason, amount in rows]
