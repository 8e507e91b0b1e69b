"""The rollup's safety as L1 has it: read from the contracts alone, also while no sequencer answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from chain.errors import IdlewattError
from chain.l1.protocol import Deployment, FraudCommitted, FraudProven, InboxMessage
from chain.signing import checksum_address, parse_address
from chain.watchtower.journal import rule_name
from node.services.chain_desk import ChainDesk
from node.values import Alarm, DisputeStage, DisputeView, SafetyView, SequencerView, WaitingMessage
from node.wire.text import plain
from wallet.l1 import open_rollup

if TYPE_CHECKING:
    from chain.l1.rollup_l1 import JsonRpcRollupL1

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 3.0
"""A command that is over sooner never loads what speaks to L1."""
LOOK_S: Final = 5.0
SEARCHED_BLOCKS: Final = 5_000
"""How far back the first look searches for events."""
KEPT_EVENTS: Final = 50
SHOWN_MESSAGES: Final = 20
SHOWN_SEQUENCERS: Final = 5
ANNOUNCED_BLOCKS: Final = 100
"""How long an announced proof is taken as still to come, beyond its delay."""


class SafetyDesk:
    """Reads one rollup's safety from L1 every few seconds.

    Args:
        chain: Knows, from now or from before, which rollup on which L1.
        on_change: Told when something changed.
        watched: The disputes that a watchtower in this node follows, proven ones too.
    """

    def __init__(
        self,
        chain: ChainDesk,
        on_change: Callable[[], None],
        watched: Callable[[], tuple[DisputeView, ...]] = tuple,
    ) -> None:
        self._chain = chain
        self._watched = watched
        self._on_change = on_change
        self._l1: JsonRpcRollupL1 | None = None
        self._rollup_address = ""
        self._next_block: int | None = None
        self._read_hash = b""
        """Of the last block whose events were read."""
        self._bonded: list[bytes] = []
        self._committed: list[FraudCommitted] = []
        self._proven: list[FraudProven] = []
        self.view: SafetyView | None = None
        self.error = ""

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            await asyncio.sleep(FIRST_LOOK_S)
            while True:
                await self.refresh()
                await asyncio.sleep(LOOK_S)
        finally:
            await self._close()

    async def refresh(self) -> None:
        """Look once; an L1 that can't be read is told, not raised."""
        info = await self._chain.info_ever()
        if info is None:
            return
        before = _timeless(self.view), self.alarm, self.error
        try:
            if self._l1 is None or self._rollup_address != info.rollup_address:
                await self._close()
                self._l1 = await open_rollup(info.l1_rpc_url, parse_address(info.rollup_address))
                self._rollup_address = info.rollup_address
            self.view, self.error = await self._look(self._l1), ""
        except IdlewattError as error:
            self.error = plain(error.message, 300)
        if (_timeless(self.view), self.alarm, self.error) != before:
            self._on_change()

    @property
    def is_frozen(self) -> bool:
        """Whether the rollup froze, as far as is known."""
        return self.view is not None and self.view.frozen_at_s is not None

    @property
    def alarm(self) -> Alarm | None:
        """What every screen should say."""
        return alarm_of(self.view) if self.view is not None else None

    async def _look(self, l1: JsonRpcRollupL1) -> SafetyView:
        deployment = await l1.deployment()
        head = await l1.block_number()
        if self.view is not None and head == self.view.l1_block and not self.view.waiting:
            return msgspec.structs.replace(self.view, disputes=self._disputes())
        await self._read_events(l1, head)
        count, final = await l1.batch_count(), await l1.final_count()
        pending = await l1.oldest_pending()
        messages = await l1.inbox_messages(pending.index, SHOWN_MESSAGES) if pending else []
        newest_prover = {event.prover: event.l1_block for event in self._proven}
        announced = [
            event
            for event in self._committed
            if event.l1_block + deployment.reveal_delay_blocks + ANNOUNCED_BLOCKS >= head
            and newest_prover.get(event.prover, -1) < event.l1_block
        ]
        return SafetyView(
            at_s=await l1.time_s(),
            l1_block=head,
            batch_count=count,
            final_count=final,
            frozen_at_s=await l1.frozen_at_s(),
            is_overdue=await l1.is_overdue(),
            sequencers=await self._sequencers(l1),
            waiting=tuple(_waiting(message, deployment) for message in messages),
            waiting_count=await l1.inbox_length() - pending.index if pending else 0,
            announced=len(announced),
            disputes=self._disputes(),
        )

    def _disputes(self) -> tuple[DisputeView, ...]:
        """Those that the contract tells of, and what only our own watchtower knows yet."""
        told = tuple(_dispute(event) for event in self._proven[-KEPT_EVENTS:])
        unsettled = (one for one in self._watched() if one.stage not in {DisputeStage.PROVEN, DisputeStage.REVERTED})
        return (*told, *unsettled)

    async def _read_events(self, l1: JsonRpcRollupL1, head: int) -> None:
        start = max(0, head - SEARCHED_BLOCKS) if self._next_block is None else self._next_block
        if start > head:
            return
        if self._read_hash and await l1.block_hash(start - 1) != self._read_hash:
            # L1 was reorganized: what its events told may never have happened.
            self._bonded, self._committed, self._proven = [], [], []
            start = max(0, head - SEARCHED_BLOCKS)
        self._bonded = list(dict.fromkeys([*self._bonded, *await l1.bond_depositors(start, head)]))[-KEPT_EVENTS:]
        for event in await l1.events(start, head):
            if isinstance(event, FraudCommitted):
                self._committed = [*self._committed, event][-KEPT_EVENTS:]
            elif isinstance(event, FraudProven):
                self._proven = [*self._proven, event][-KEPT_EVENTS:]
        self._next_block, self._read_hash = head + 1, await l1.block_hash(head) or b""

    async def _sequencers(self, l1: JsonRpcRollupL1) -> tuple[SequencerView, ...]:
        leader = await l1.leader()
        slashed = [event.submitter for event in self._proven[-SHOWN_SEQUENCERS:]]
        known = dict.fromkeys([*([leader] if leader is not None else []), *reversed(self._bonded), *slashed])
        return tuple(
            [
                SequencerView(
                    address=checksum_address(address),
                    bond_wei=(await l1.bond(address)).amount_wei,
                    is_leader=address == leader,
                )
                for address in list(known)[:SHOWN_SEQUENCERS]
            ]
        )

    async def _close(self) -> None:
        if self._l1 is not None:
            await self._l1.aclose()
            self._l1, self._next_block, self._read_hash, self.view = None, None, b"", None
            self._bonded, self._committed, self._proven = [], [], []


def alarm_of(safety: SafetyView) -> Alarm | None:
    """A freeze, a fraud until its place is final, or what leads there."""
    if safety.frozen_at_s is not None:
        text = "THE ROLLUP IS FROZEN. Leave with everything: idlewatt wallet exit"
        return Alarm(severity="danger", text=text, way_out="exit")
    for dispute in reversed(safety.disputes):
        if dispute.stage in (DisputeStage.VANISHED, DisputeStage.REFUSED) or dispute.batch_id < safety.final_count:
            continue
        what = {
            DisputeStage.FOUND: "is wrong and must be proven so",
            DisputeStage.COMMITTED: "is wrong; the proof waits for its reveal",
            DisputeStage.MISSED: "is wrong and was proven too late",
        }.get(dispute.stage, "was proven wrong and taken back")
        return Alarm(severity="danger", text=f"FRAUD: batch {dispute.batch_id} {what} ({dispute.rule})")
    first = safety.waiting[0] if safety.waiting else None
    if first is not None and safety.at_s > first.freeze_at_s:
        text = "NOBODY SEQUENCES. Anyone may freeze the rollup now: idlewatt wallet exit --freeze"
        return Alarm(severity="danger", text=text, way_out="exit")
    if safety.announced:
        return Alarm(severity="warning", text="Somebody announced a fraud proof. It is shown in a moment, or never.")
    if first is not None and safety.is_overdue:
        text = f"The sequencer ignores message {first.index}: anyone bonded may take over."
        return Alarm(severity="warning", text=text, way_out="force")
    return None


def _timeless(view: SafetyView | None) -> SafetyView | None:
    """The same without the time, which passes by itself."""
    return None if view is None else msgspec.structs.replace(view, at_s=0)


def _waiting(message: InboxMessage, deployment: Deployment) -> WaitingMessage:
    return WaitingMessage(
        index=message.index,
        kind=message.kind,
        at_s=message.at_s,
        deadline_s=message.at_s + deployment.force_delay_s,
        takeover_at_s=message.at_s + deployment.takeover_delay_s,
        freeze_at_s=message.at_s + deployment.freeze_delay_s,
    )


def _dispute(event: FraudProven) -> DisputeView:
    return DisputeView(
        stage=DisputeStage.REVERTED,
        batch_id=event.batch_id,
        frame=event.frame_index,
        code=event.code,
        rule=rule_name(event.code),
        submitter=checksum_address(event.submitter),
        prover=checksum_address(event.prover),
        reward_wei=event.to_prover_wei,
        l1_tx="0x" + event.l1_tx.hex(),
        reverted_block=event.l1_block,
    )
