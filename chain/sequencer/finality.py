"""When a batch becomes final, and what the sequencer does then."""

from __future__ import annotations

from chain.sequencer.ledger import SequencerLedger


class Finality:
    """Follows which batches are final on L1.

    Args:
        ledger: Whose final state moves on.
    """

    def __init__(self, ledger: SequencerLedger) -> None:
        self._ledger = ledger

    async def is_due(self) -> bool:
        """Whether the oldest batch that isn't final is past its challenge window."""
        ledger = self._ledger
        if ledger.final.count >= ledger.posted_count:
            return False
        row = await ledger.store.batch(ledger.final.count)
        window_s = ledger.deployment.challenge_window_s
        return (
            row is not None and row.submitted_at_s is not None and row.submitted_at_s + window_s <= ledger.clock.time_s
        )

    async def advance(self, final_count: int) -> None:
        """Take in that so many batches are final on L1.

        Raises:
            SequencerStoreError: If it could not be kept.
        """
        async with self._ledger.writing:
            await self._ledger.final.advance(self._ledger.store, final_count, self._ledger.clock.time_s)
