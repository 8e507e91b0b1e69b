"""Single values, kept by name."""

from __future__ import annotations

from chain.sequencer.store.database import SequencerDatabase, Statement


class Metadata(SequencerDatabase):
    """Values that there is one of."""

    async def metadata(self, name: str) -> bytes | None:
        """A single value kept by name."""
        row = await self._one("SELECT value FROM fact WHERE name = ?", (name,))
        return row[0] if row else None


def set_metadata(name: str, value: bytes) -> Statement:
    """The statement that keeps a single value by name."""
    return "INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (name, value)
