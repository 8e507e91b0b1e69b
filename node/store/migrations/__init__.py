"""The schema's history: one module a version, gated by ``PRAGMA user_version``."""

from __future__ import annotations

from node.store.migrations import v001, v002, v003, v005

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (v001.VERSION, v001.STATEMENTS),
    (v002.VERSION, v002.STATEMENTS),
    (v003.VERSION, v003.STATEMENTS),
    (v005.VERSION, v005.STATEMENTS),
)
"""Ascending; a released one never changes."""

LATEST = MIGRATIONS[-1][0]
