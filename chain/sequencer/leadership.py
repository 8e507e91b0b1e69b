"""Which sequencer may post: the one whose turn it is, or any bonded one where a turn was missed or a message waits."""

from __future__ import annotations

from chain.errors import ChainRejectedError
from chain.logs import get_logger
from chain.sequencer.inbox import InboxExecutor
from chain.sequencer.ledger import SequencerLedger

log = get_logger(__name__)


class Leadership:
    """Keeps ``SequencerLedger.leads`` and ``turn`` as L1 has them, and takes a turn that this sequencer may begin.

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
        leads = await self._leads()
        if leads == self._ledger.leads:
            return False
        log.info("leadership_changed", leads=leads)
        self._ledger.leads = leads
        self._inbox.look_again()
        return True

    async def _leads(self) -> bool:
        ledger = self._ledger
        me = ledger.l1.sender
        if ledger.wrong_batch is not None or me is None or not await ledger.l1.may_post(me):
            return False
        turn = await ledger.l1.turn()
        if turn.is_alone:
            ledger.turn = None
            return True
        if turn.leader != me or await ledger.l1.time_s() >= turn.ends_at_s:
            # Others may begin one too: what L1 says goes, before anything is acknowledged.
            try:
                await ledger.l1.take_turn()
            except ChainRejectedError as error:
                log.info("turn_not_taken", reason=error.code)
                return False
            turn = await ledger.l1.turn()
        ledger.turn = turn
        return turn.leader == me
