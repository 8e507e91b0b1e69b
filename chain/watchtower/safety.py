"""The rollup's safety as its contracts tell it: bonds, what waits in the inbox, disputes and the freeze."""

from __future__ import annotations

from typing import Final

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import Deployment, FraudCommitted, InboxMessage, L1Head, RollupL1
from chain.logs import get_logger
from chain.signing import checksum_address
from chain.views import DisputeView, SafetyView, SequencerView, WaitingMessage
from chain.watchtower.history import WINDOW_BLOCKS, FraudHistory
from chain.watchtower.journal import dispute_of

log = get_logger(__name__)

KEPT_EVENTS: Final = 500
SHOWN_DISPUTES: Final = 50
SHOWN_MESSAGES: Final = 20
SHOWN_SEQUENCERS: Final = 5
ANNOUNCED_BLOCKS: Final = 100
"""How long an announced proof is taken as still to come, beyond its delay."""


class SafetyReader:
    """Reads one rollup's safety from L1; what it knows comes from there and is read again after a reorg.

    Args:
        l1: The contracts.
    """

    def __init__(self, l1: RollupL1) -> None:
        self._l1 = l1
        self._view: SafetyView | None = None
        self._head: L1Head | None = None
        """The block that the view is of."""
        self._read: L1Head | None = None
        """The last block whose events were read."""
        self._committed: list[FraudCommitted] = []
        self._history = FraudHistory(l1)

    async def look(self) -> SafetyView:
        """What L1 says now; where it has no new block and no message waits, that costs one question.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself.
            ChainRejectedError: If L1 refuses to answer.
        """
        l1 = self._l1
        head = await l1.head()
        if self._view is not None and head == self._head and not self._view.waiting and self._history.is_complete:
            return self._view
        deployment = await l1.deployment()
        await self._read_events(head, deployment)
        count, final = await l1.batch_count(), await l1.final_count()
        pending = await l1.oldest_pending()
        messages = await l1.inbox_messages(pending.index, SHOWN_MESSAGES) if pending else []
        self._view = SafetyView(
            at_s=await l1.time_s(),
            l1_block=head.number,
            batch_count=count,
            final_count=final,
            frozen_at_s=await l1.frozen_at_s(),
            is_overdue=await l1.is_overdue(),
            sequencers=await self._sequencers(),
            waiting=tuple(_waiting(message, deployment) for message in messages),
            waiting_count=await l1.inbox_length() - pending.index if pending else 0,
            announced=self._announced(head, deployment),
            disputes=tuple(dispute_of(event) for event in self._history.proven[-SHOWN_DISPUTES:]),
        )
        self._head = head
        return self._view

    def disputes(self, limit: int, skip: int) -> list[DisputeView]:
        """Frauds that were proven, newest first, as of the last look.

        Args:
            limit: How many at most.
            skip: How many of the newest to leave out.
        """
        newest_first = self._history.proven[::-1]
        return [dispute_of(event) for event in newest_first[skip : skip + limit]]

    async def waiting(self, start: int, limit: int) -> list[WaitingMessage]:
        """The inbox messages that no standing batch executes, oldest first.

        Args:
            start: The first index.
            limit: How many at most.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself.
            ChainRejectedError: If L1 refuses to answer.
        """
        pending = await self._l1.oldest_pending()
        if pending is None:
            return []
        deployment = await self._l1.deployment()
        messages = await self._l1.inbox_messages(max(start, pending.index), limit)
        return [_waiting(message, deployment) for message in messages]

    def _announced(self, head: L1Head, deployment: Deployment) -> int:
        newest_proven = {event.prover: event.l1_block for event in self._history.proven}
        oldest_block = head.number - deployment.reveal_delay_blocks - ANNOUNCED_BLOCKS
        return sum(
            event.l1_block >= oldest_block and newest_proven.get(event.prover, -1) < event.l1_block
            for event in self._committed
        )

    async def _read_events(self, head: L1Head, deployment: Deployment) -> None:
        """What the contracts' events add to what their state says; a part that L1 doesn't give is left out."""
        read = self._read
        if read is not None and read != head and await self._l1.block_hash(read.number) != read.hash:
            self._committed, self._read, read = [], None, None
        try:
            await self._history.read(head, deployment.block_number)
            await self._history.read_back()
        except (ChainRejectedError, ChainUnavailableError) as error:
            log.warning("l1_events_not_read", error=error.line())
        if read == head:
            return
        first = max(deployment.block_number, head.number - WINDOW_BLOCKS) if read is None else read.number + 1
        try:
            # Anybody may announce for little gas, so this is read as far as L1 gives it and no further.
            recent = max(first, head.number - deployment.reveal_delay_blocks - ANNOUNCED_BLOCKS)
            committed = [*self._committed, *await self._l1.announcements(recent, head.number)]
            self._committed = committed[-KEPT_EVENTS:]
        except (ChainRejectedError, ChainUnavailableError) as error:
            log.warning("l1_events_not_read", error=error.line())
        self._read = head

    async def _sequencers(self) -> tuple[SequencerView, ...]:
        leader = await self._l1.leader()
        slashed = [event.submitter for event in self._history.proven[-SHOWN_SEQUENCERS:]]
        bonded = await self._l1.sequencers(SHOWN_SEQUENCERS)
        known = dict.fromkeys([*([leader] if leader is not None else []), *bonded, *slashed])
        return tuple(
            [
                SequencerView(
                    address=checksum_address(address),
                    bond_wei=(await self._l1.bond(address)).amount_wei,
                    is_leader=address == leader,
                )
                for address in list(known)[:SHOWN_SEQUENCERS]
            ]
        )


def _waiting(message: InboxMessage, deployment: Deployment) -> WaitingMessage:
    return WaitingMessage(
        index=message.index,
        kind=message.kind,
        at_s=message.at_s,
        deadline_s=message.at_s + deployment.force_delay_s,
        takeover_at_s=message.at_s + deployment.takeover_delay_s,
        freeze_at_s=message.at_s + deployment.freeze_delay_s,
    )
