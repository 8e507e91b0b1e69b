"""Counts rejected requests by reason and day; the counts survive restarts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.provider.rejections import REASONS, added, known, views
from node.runtime.jobs import now_ms
from node.store.rejections import DAY_MS
from node.store.store import Store
from node.values import RejectionView

log = get_logger(__name__)

TICK_S: Final = 1.0
SAVE_S: Final = 10.0
WEEK_DAYS: Final = 7
KEPT_DAYS: Final = 90


class RejectionLog:
    """The counts of today and of the last days.

    Args:
        store: Where they are kept.
        on_change: Told that a count changed.
        tick_s: How often time offline is counted.
        save_s: How often counts are saved.
        clock_ms: Milliseconds UTC.
    """

    def __init__(
        self,
        store: Store,
        on_change: Callable[[], None],
        *,
        tick_s: float = TICK_S,
        save_s: float = SAVE_S,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._tick_s = tick_s
        self._save_s = save_s
        self._clock_ms = clock_ms
        self._store = store
        self._on_change = on_change
        self._day_ms = 0
        self._today: dict[str, int] = {}
        self._before: dict[str, int] = {}
        """The six days before today."""
        self._unsaved: Counter[str] = Counter()
        self._offline = ""
        """Why the offer can't be taken now, as far as that is logged."""
        self._offline_s: Counter[str] = Counter()
        """Parts of a second that are not counted yet."""

    async def load(self) -> None:
        """Read what earlier runs counted."""
        today_ms = self._today_ms()
        rows = await self._store.rejections(max(0, today_ms - (WEEK_DAYS - 1) * DAY_MS))
        # What was counted while the disk was read is added to it.
        self._day_ms = today_ms
        self._today = added({}, [(reason, amount) for day_ms, reason, amount in rows if day_ms == today_ms])
        self._today = added(self._today, self._unsaved.items())
        self._before = added({}, [(reason, amount) for day_ms, reason, amount in rows if day_ms < today_ms])

    def add(self, code: str, amount: int = 1) -> None:
        """Count a rejected request, or seconds in which no request could be taken."""
        reason = known(code)
        self._today = added(self._today, [(reason, amount)])
        self._unsaved[reason] += amount
        if REASONS[reason].unit == "requests":
            log.info("request_rejected", reason=reason)
        self._on_change()

    def view(self) -> tuple[RejectionView, ...]:
        """What is counted, with the fixes."""
        return views(self._today, added(self._before, self._today.items()))

    async def run(self, offline_reason: Callable[[], str]) -> None:
        """Count the time offline by its reason, and save all counts, until cancelled.

        Args:
            offline_reason: Tells why the offer can't be taken at this moment; ``""`` when it can, or is not meant to.
        """
        before_s, saved_s = time.monotonic(), time.monotonic()
        try:
            while True:
                await asyncio.sleep(self._tick_s)
                now_s = time.monotonic()
                self.passed(offline_reason(), now_s - before_s)
                before_s = now_s
                if self._today_ms() != self._day_ms:
                    await self._save()
                    await self.load()
                elif now_s - saved_s >= self._save_s:
                    saved_s = now_s
                    await self._save()
        finally:
            await self._save()

    def passed(self, reason: str, seconds: float) -> None:
        """Add time offline to its reason; whole seconds are counted, and the log has its beginning and its end."""
        # Slots are taken and freed every second: that is no interruption.
        offline = "" if reason == "slots_taken" else reason
        if offline != self._offline:
            if self._offline:
                log.info("offer_interruption_ended", reason=self._offline)
            if offline:
                log.info("offer_interrupted", reason=offline)
            self._offline = offline
        if not reason:
            return
        whole, rest = divmod(self._offline_s[reason] + seconds, 1.0)
        self._offline_s[reason] = rest  # type: ignore[assignment]
        if whole >= 1:
            self.add(reason, int(whole))

    async def _save(self) -> None:
        """Save what was counted since the last time. What the disk refuses is saved the next time."""
        if not self._unsaved:
            return
        amounts, self._unsaved = self._unsaved, Counter()
        try:
            await self._store.add_rejections(self._day_ms, amounts, keep_from_ms=self._day_ms - KEPT_DAYS * DAY_MS)
        except IdlewattError as error:
            self._unsaved.update(amounts)
            log.warning("rejections_not_saved", error=error.line())

    def _today_ms(self) -> int:
        return self._clock_ms() // DAY_MS * DAY_MS
