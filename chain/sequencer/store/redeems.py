"""How many redeems channels have left, where that is another number than a new channel has."""

from __future__ import annotations

from chain.sequencer.store.database import SequencerDatabase, Statement


class RedeemsLeft(SequencerDatabase):
    """What channels have left."""

    async def redeems_left(self) -> dict[int, int]:
        """The number of every channel that has one of its own."""
        return {row[0]: row[1] for row in await self._all("SELECT channel, redeems FROM redeems_left")}


def set_redeems_left(channel: int, redeems: int) -> Statement:
    """The statement that keeps how many a channel has left."""
    return "INSERT OR REPLACE INTO redeems_left (channel, redeems) VALUES (?, ?)", (channel, redeems)


def drop_redeems_left(channel: int) -> Statement:
    """The statement that forgets a channel."""
    return "DELETE FROM redeems_left WHERE channel = ?", (channel,)
