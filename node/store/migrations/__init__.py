"""The schema's history: one module a version, gated by ``PRAGMA user_version``."""

from __future__ import annotations

from node.store.migrations import v001, v002, v003, v005, v006

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (v001.VERSION, v001.STATEMENTS),
    (v002.VERSION, v002.STATEMENTS),
    (v003.VERSION, v003.STATEMENTS),
    # There is no version 4, and there can't be one any more: homes record the number of the last migration they took,
    # so those at 5 would pass a 4 by, and a 5 renumbered to 4 would make them newer than this program.
    (v005.VERSION, v005.STATEMENTS),
    (v006.VERSION, v006.STATEMENTS),
)
"""Ascending; a released one never changes."""

LATEST = MIGRATIONS[-1][0]
