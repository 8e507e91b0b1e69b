"""The chain's newest events, as lines of text."""

from __future__ import annotations

import msgspec

from chain.sequencer.store.database import SequencerDatabase, Statement, as_struct

MAX_EVENTS = 2_000


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the chain's history."""

    kind: str
    at_s: int
    text: str
    reference: str


class Events(SequencerDatabase):
    """What happened lately."""

    async def events(self, limit: int) -> list[EventRow]:
        """The newest events, newest first."""
        rows = await self._all("SELECT kind, at_s, text, reference FROM event ORDER BY id DESC LIMIT ?", (limit,))
        return [as_struct(EventRow, row) for row in rows]


def insert_event(kind: str, at_s: int, text: str, reference: str) -> list[Statement]:
    """The statements that keep an event, and no more of them than anyone reads.

    Args:
        kind: One word, such as ``batch``.
        at_s: L1 or L2 time.
        text: One sentence.
        reference: A transaction's hash as ``0x`` hex, or empty.
    """
    return [
        ("INSERT INTO event (kind, at_s, text, reference) VALUES (?, ?, ?, ?)", (kind, at_s, text, reference)),
        ("DELETE FROM event WHERE id <= (SELECT MAX(id) FROM event) - ?", (MAX_EVENTS,)),
    ]
