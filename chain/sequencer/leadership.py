"""Which sequencer may post: the bonded leader, or any bonded one once the leader is overdue."""

from __future__ import annotations

from chain.logs import get_logger
from chain.sequencer.inbox import InboxExecutor
from chain.sequencer.ledger import SequencerLedger

log = get_logger(__name__)


class Leadership:
    """Keeps ``SequencerLedger.leads`` as L1 has it.

    Args:
        ledger: Whose it is.
        inbox: Read again when that changes, since only a leader executes it.
    """

    def __init__(self, ledger: SequencerLedger, inbox: InboxExecutor) -> None:
        self._ledger = ledger
        self._inbox = inbox

    async def look(self) -> bool:
        """See whether this sequencer may post; returns whether that has changed.

        Raises:
            ChainUnavailableError: If L1 does not answer.
        """
        leads = await self._may_post()
        if leads == self._ledger.leads:
            return False
        log.info("leadership_changed", leads=leads)
        self._ledger.leads = leads
        self._inbox.look_again()
        return True

    async def _may_post(self) -> bool:
        l1 = self._ledger.l1
        me = l1.sender
        if self._ledger.wrong_batch is not None or me is None:
            return False
        return await l1.may_post(me)
