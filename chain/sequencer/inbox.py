"""The L1 inbox as the sequencer executes it: each message once, in its order, when it is deep enough in L1."""

from __future__ import annotations

from collections.abc import Sequence

from chain.l1.protocol import InboxMessage
from chain.sequencer.ledger import SequencerLedger

PAGE_MESSAGES = 256


class InboxExecutor:
    """Executes what is new in the inbox.

    Args:
        ledger: What it executes on.
    """

    def __init__(self, ledger: SequencerLedger) -> None:
        self._ledger = ledger
        self._is_up_to_date = False

    def look_again(self) -> None:
        """Look into the inbox at the next ``execute_if_new``, though L1 has no new block."""
        self._is_up_to_date = False

    async def execute_if_new(self) -> None:
        """Execute what is new, unless the inbox was read since the last ``look_again``.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            SequencerStoreError: If it could not be kept.
        """
        if self._is_up_to_date:
            return
        self._is_up_to_date = True
        try:
            await self._execute_all()
        except BaseException:
            self.look_again()
            raise

    async def _execute_all(self) -> None:
        while messages := await self._new_messages():
            async with self._ledger.writing:
                await self._execute(messages)

    async def execute_locked(self) -> None:
        """Execute what is new for a caller that holds ``writing``, and goes on doing so while L1 is asked.

        Raises:
            ChainUnavailableError: If L1 does not answer.
            SequencerStoreError: If it could not be kept.
        """
        while messages := await self._new_messages():
            await self._execute(messages)

    async def _new_messages(self) -> Sequence[InboxMessage]:
        """A page of the inbox that begins where the head stands in it; empty where nothing new is deep enough."""
        ledger = self._ledger
        cursor = ledger.head.state.meta.inbox_cursor
        messages = await ledger.l1.inbox_messages(cursor, PAGE_MESSAGES)
        confirmations = ledger.config.inbox_confirmations
        if confirmations and messages:
            newest, found = await ledger.l1.block_number() - confirmations, len(messages)
            # L1 refuses a batch that leaves a message out for longer than the force delay, however deep it is.
            before_s = ledger.clock.time_s - ledger.deployment.force_delay_s // 2
            messages = [message for message in messages if message.l1_block <= newest or message.at_s <= before_s]
            if len(messages) < found:
                self.look_again()
        return messages if messages and messages[0].index == cursor else []

    async def _execute(self, messages: Sequence[InboxMessage]) -> None:
        ledger = self._ledger
        for message in messages:
            if message.index != ledger.head.state.meta.inbox_cursor:
                break
            batch = ledger.head.open
            if batch is not None and (batch.tx_count or ledger.is_full(0)):
                ledger.seal()
            ledger.head.execute_message(message, ledger.clock.time_s)
        await ledger.commit_head()
        ledger.due.set()
