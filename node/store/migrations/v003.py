"""Version 3: why a provider got no jobs, by UTC day: requests not taken, and seconds in which none could be."""

from __future__ import annotations

VERSION = 3

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE misses (
        day_start_ms INTEGER NOT NULL CHECK (day_start_ms >= 0),
        reason TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount > 0),
        PRIMARY KEY (day_start_ms, reason)
    ) STRICT, WITHOUT ROWID
    """,
)
