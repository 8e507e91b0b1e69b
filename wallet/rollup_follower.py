"""The rollup's state from L1 alone, kept up to date, for a wallet without a sequencer that it can trust."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from chain.errors import ChainRejectedError
from chain.l1.protocol import RollupL1
from chain.replay import ReplayedBatch, Replayer, replay_l1, rules_of
from chain.snapshot_source import start_from
from chain.state import RollupState
from chain.types import Withdrawal


class RollupFollower:
    """Executes every batch that stands on L1, and begins again where one was taken back.

    Args:
        l1: The rollup's contracts.
        snapshot: A file or a URL with a final state to begin with; everything is replayed where it can't be used.
    """

    def __init__(self, l1: RollupL1, snapshot: str | None = None) -> None:
        self._l1 = l1
        self._snapshot = snapshot
        self._replayer: Replayer | None = None
        self._newest_tx: bytes | None = None
        """Of the newest batch that was executed here."""
        self.began_at = 0
        """The first batch that was executed here: what came before was in the snapshot."""
        self.restarts = -1
        """How often batches that were executed here turned out to be taken back."""

    @property
    def state(self) -> RollupState:
        """The state after the newest batch that was executed."""
        assert self._replayer is not None, "follow first"
        return self._replayer.state

    @property
    def batch_count(self) -> int:
        """How many batches were executed."""
        assert self._replayer is not None, "follow first"
        return self._replayer.next_batch

    async def follow(self) -> AsyncIterator[ReplayedBatch]:
        """Execute what L1 has beyond what was executed; ``state`` is the one after the batch just given.

        Raises:
            ReplayError: At the first batch that is wrong; asked again, it looks again.
            ChainUnavailableError: If L1 does not answer.
        """
        if self._replayer is None or await self._was_taken_back(self._replayer):
            start, _ = await start_from(self._snapshot, self._l1)
            # What was taken back once is not begun with again.
            self._snapshot = None
            self._replayer = start or Replayer(rules_of(await self._l1.deployment()))
            self._newest_tx, self.began_at = None, self._replayer.next_batch
            self.restarts += 1
        async for replayed in replay_l1(self._l1, replayer=self._replayer):
            self._newest_tx = replayed.posted.l1_tx
            yield replayed

    async def catch_up(self) -> RollupState:
        """The state after the last batch on L1; raises as `follow`."""
        async for _ in self.follow():
            pass
        return self.state

    async def _was_taken_back(self, replayer: Replayer) -> bool:
        if self._newest_tx is None:
            # Nothing was executed here yet; a snapshot's batches are final.
            return replayer.next_batch > await self._l1.batch_count()
        newest = await self._l1.batches(replayer.next_batch - 1, 1)
        return not newest or newest[0].l1_tx != self._newest_tx


async def finalized(l1: RollupL1) -> int:
    """Make final what is past its window, as anyone may; returns the final count.

    Raises:
        ChainRejectedError: If L1 refuses for another reason than that somebody was faster.
        ChainUnavailableError: If L1 does not answer.
    """
    before = await l1.final_count()
    try:
        return await l1.finalize()
    except ChainRejectedError:
        after = await l1.final_count()
        if after == before:
            raise
        return after


async def claimed(l1: RollupL1, batch_id: int, index: int, withdrawal: Withdrawal, siblings: Sequence[bytes]) -> bytes:
    """Claim a withdrawal, or find an earlier claim by another; returns the hash of the L1 transaction that paid.

    The hash is empty where another claimed it and L1's RPC gives no logs.

    Args:
        l1: The rollup's contracts.
        batch_id: The final batch whose root it is proven against.
        index: The withdrawal's state index.
        withdrawal: What the batch's state holds there.
        siblings: 32 hashes, from the leaf up.

    Raises:
        ChainRejectedError: If L1 refuses, and nobody claimed it.
        ChainUnavailableError: If L1 does not answer.
    """
    try:
        return await l1.claim_withdrawal(batch_id, index, withdrawal, siblings)
    except ChainRejectedError:
        if not await l1.is_claimed(index):
            raise
    try:
        return await l1.claim_withdrawal(batch_id, index, withdrawal, siblings)
    except ChainRejectedError:
        # It is paid. Which transaction did it stands in a log that this L1's RPC doesn't give.
        return b""
