"""The rollup's proven frauds and its freeze, as L1's events tell them: the newest first, then back to its deployment.

What is read here is told and shown, and nothing is verified or proven by it: so an L1 that doesn't give its events
holds nobody up.
"""

from __future__ import annotations

from typing import Final

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import FraudProven, L1Event, L1Head, RollupL1
from chain.logs import get_logger

log = get_logger(__name__)

WINDOW_BLOCKS: Final = 20_000
"""How much is read at one look, of what is new and of what is old."""
KEPT_FRAUDS: Final = 500
MAX_SKIPPED_LOOKS: Final = 64


class FraudHistory:
    """Reads events in order from where it began on, and backwards from there, one window a look.

    Args:
        l1: Where they are read.
        window_blocks: How many blocks one look reads in either direction.
    """

    def __init__(self, l1: RollupL1, *, window_blocks: int = WINDOW_BLOCKS) -> None:
        self._l1 = l1
        self._window_blocks = window_blocks
        self._seen: L1Head | None = None
        self._next = 0
        self._oldest = 0
        """The oldest block that was read."""
        self._first = 0
        self._failures = 0
        self._skip = 0
        self.proven: list[FraudProven] = []
        """The newest last; at most ``KEPT_FRAUDS``."""

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the newest head that was looked at was read."""
        return self._seen is not None and self._next > self._seen.number and self._oldest <= self._first

    async def read(self, head: L1Head, first_block: int) -> list[L1Event]:
        """What is new, in order: up to L1's head, or one window of it.

        Args:
            head: L1's newest block.
            first_block: The block in which the rollup was deployed.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself; nothing is lost.
            ChainRejectedError: If L1 refuses.
        """
        self._first = first_block
        if self._seen is None or await self._is_reorganized(head, self._seen):
            self._next = max(first_block, head.number - self._window_blocks + 1)
            self._oldest = self._next
            self.proven = []
        self._seen = head
        found: list[L1Event] = []
        if self._next <= head.number:
            end = min(head.number, self._next + self._window_blocks - 1)
            found = list(await self._l1.events(self._next, end))
            self._next = end + 1
            self.proven = (self.proven + _frauds(found))[-KEPT_FRAUDS:]
        return found

    async def read_back(self) -> list[FraudProven]:
        """One window of what is older, if there is any; an L1 that keeps no such history is asked less and less."""
        if self._seen is None or self._oldest <= self._first:
            return []
        if self._skip > 0:
            self._skip -= 1
            return []
        start = max(self._first, self._oldest - self._window_blocks)
        try:
            found = _frauds(list(await self._l1.events(start, self._oldest - 1)))
        except (ChainRejectedError, ChainUnavailableError) as error:
            self._failures += 1
            self._skip = min(MAX_SKIPPED_LOOKS, 2**self._failures)
            log.debug("old_events_not_read", from_block=start, error=error.line())
            return []
        self._failures, self._oldest = 0, start
        self.proven = (found + self.proven)[-KEPT_FRAUDS:]
        return found

    async def _is_reorganized(self, head: L1Head, seen: L1Head) -> bool:
        return seen != head and (head.number < seen.number or await self._l1.block_hash(seen.number) != seen.hash)


def _frauds(events: list[L1Event]) -> list[FraudProven]:
    return [event for event in events if isinstance(event, FraudProven)]
