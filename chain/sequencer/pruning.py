"""Free accounts that hold nothing are removed at a batch's end, some at a time, after they were empty for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from chain.fees.empties import EmptyAccounts
from chain.logs import get_logger
from chain.sequencer.config import SequencerConfig
from chain.sequencer.head import Head, TxRefusedError
from chain.txs import Prune
from chain.types import FIRST_INDEX

log = get_logger(__name__)

LOOKS_PER_BATCH: Final = 2_000
"""Account numbers that are looked at in one batch."""
MAX_KEPT: Final = 200_000
"""Empty accounts that are remembered at once."""


class Pruner:
    """Goes round all accounts, and removes what held nothing, unused, since it was first seen so.

    It knows nothing after a restart, so an account stays for at least that time from then on.

    Args:
        config: How long, and how many.
        monotonic: Seconds that only move forward.
    """

    def __init__(self, config: SequencerConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic = monotonic
        self._empties = EmptyAccounts(config.prune_after_s, max_kept=MAX_KEPT)
        self._place = 0

    def prune(self, head: Head, kept_owner: bytes | None, l1_time_s: int) -> None:
        """Remove what is due.

        Args:
            head: Its open batch ends with this.
            kept_owner: Whose account stays.
            l1_time_s: For the L2 time of the batch.
        """
        now = self._monotonic()
        self._empties.look(self._page(head, kept_owner), now)
        pruned = 0
        for number in self._empties.due(now, self._config.prune_per_batch):
            account = head.state.account(number)
            if account is None or account.owner == kept_owner:
                continue
            try:
                head.execute(Prune(number).encode(), l1_time_s)
            except TxRefusedError:
                continue  # it was paid since it was last looked at
            pruned += 1
        if pruned:
            log.info("accounts_pruned", accounts=pruned, still_empty=len(self._empties))

    def _page(self, head: Head, kept_owner: bytes | None) -> Iterator[tuple[int, int | None]]:
        """The next accounts: number, and nonce if it holds nothing."""
        count = head.state.meta.next_account - FIRST_INDEX
        for _ in range(min(count, LOOKS_PER_BATCH)):
            number = FIRST_INDEX + self._place % count
            self._place = number - FIRST_INDEX + 1
            account = head.state.account(number)
            if account is None or account.owner == kept_owner:
                yield number, None
                continue
            holds = account.balance_nano or account.stake_nano or account.unlocking_nano or account.channels
            yield number, None if holds else account.nonce
