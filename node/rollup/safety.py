"""Reads the rollup's safety from its L1 contracts, also while no sequencer answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from chain.errors import IdlewattError
from chain.signing import parse_address
from chain.watchtower.safety import SafetyReader
from node.rollup.monitor import RollupMonitor
from node.rollup.timing import L1Timing
from node.values import Alarm, DisputeStage, DisputeView, SafetyView
from node.values.text import plain
from wallet.l1 import open_rollup

if TYPE_CHECKING:
    from chain.l1.rollup_l1 import JsonRpcRollupL1


class SafetyMonitor:
    """Reads one rollup's safety from L1 every few seconds.

    Args:
        chain: Knows which rollup on which L1, also from an earlier run.
        on_change: Told when something changed.
        timing: When L1 is read.
        watched: The disputes that a watchtower in this node follows, proven ones too.
    """

    def __init__(
        self,
        chain: RollupMonitor,
        on_change: Callable[[], None],
        *,
        timing: L1Timing,
        watched: Callable[[], tuple[DisputeView, ...]] = tuple,
    ) -> None:
        self._timing = timing
        self._chain = chain
        self._watched = watched
        self._on_change = on_change
        self._l1: JsonRpcRollupL1 | None = None
        self._rollup_address = ""
        self._reader: SafetyReader
        self.view: SafetyView | None = None
        self.error = ""

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            await asyncio.sleep(self._timing.first_look_s)
            while True:
                await self.refresh()
                await asyncio.sleep(self._timing.look_s)
        finally:
            await self._close()

    async def refresh(self) -> None:
        """Read once. An L1 that can't be read is noted, not raised."""
        info = await self._chain.info_ever()
        if info is None:
            return
        before = _timeless(self.view), self.alarm, self.error
        try:
            if self._l1 is None or self._rollup_address != info.rollup_address:
                await self._close()
                self._l1 = await open_rollup(info.l1_rpc_url, parse_address(info.rollup_address))
                self._reader = SafetyReader(self._l1)
                self._rollup_address = info.rollup_address
            view = await self._reader.look()
            self.view, self.error = msgspec.structs.replace(view, disputes=(*view.disputes, *self._unsettled())), ""
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
        """The alarm that every screen shows, if there is one."""
        return alarm_of(self.view) if self.view is not None else None

    def _unsettled(self) -> list[DisputeView]:
        """The disputes that only our own watchtower knows yet."""
        return [one for one in self._watched() if one.stage not in {DisputeStage.PROVEN, DisputeStage.REVERTED}]

    async def _close(self) -> None:
        if self._l1 is not None:
            await self._l1.aclose()
            self._l1 = self.view = None


def alarm_of(safety: SafetyView) -> Alarm | None:
    """The alarm for a freeze, for a fraud until its batch number is final, or for what may lead to a freeze."""
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
    """The view without its time, which changes by itself."""
    return None if view is None else msgspec.structs.replace(view, at_s=0)
