"""Pauses the provider while other users need the machine, and resumes it. Each pause has a reason and a fix."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Final

from chain.errors import IdlewattError, UsageError
from chain.logs import get_logger
from node.hardware.availability import (
    AvailabilityPolicy,
    AvailabilityState,
    Available,
    MachineActivity,
    Pause,
    debounce,
    decide,
)
from node.hardware.presence import Presence
from node.hardware.processes import ProcessUse, name_of
from node.hardware.reading import DeviceReading
from node.hardware.rules import AvailabilityRules
from node.hardware.sampler import HardwareSample
from node.machine.timing import MACHINE_TIMING, MachineTiming
from node.runtime.events import EventBus
from node.runtime.jobs import now_ms
from node.values import PauseView
from node.values.text import plain

log = get_logger(__name__)

PRESENCE_TIMEOUT_S: Final = 6.0
MOST_MINUTES: Final = 7 * 24 * 60


class AvailabilityMonitor:
    """Looks at the machine once a second, decides, and pauses or resumes the provider.

    Args:
        rules: The owner's settings.
        events: Told of every pause and its end.
        look: The newest look at devices and processes.
        is_busy: Whether this node itself uses the machine. If not, a busy GPU works for another program.
        pause: Pauses the provider; returns once the model is unloaded.
        resume: Resumes the provider.
        presence: Asks the desktop for its last input.
        zone: The time zone of the hours; by default this machine's.
        clock: Seconds UTC.
        timing: How often the machine and the desktop are looked at.

    Raises:
        HoursError: If hours can't be read.
    """

    def __init__(  # noqa: PLR0913 - one parameter a neighbour
        self,
        rules: AvailabilityRules,
        events: EventBus,
        *,
        look: Callable[[], tuple[HardwareSample | None, ProcessUse]],
        is_busy: Callable[[], bool],
        pause: Callable[[str], Awaitable[None]],
        resume: Callable[[], Awaitable[None]],
        presence: Presence | None = None,
        zone: tzinfo | None = None,
        clock: Callable[[], float] = time.time,
        timing: MachineTiming = MACHINE_TIMING,
    ) -> None:
        self._timing = timing
        self._availability = AvailabilityPolicy(rules, zone)
        self._events = events
        self._look = look
        self._is_busy = is_busy
        self._pause = pause
        self._resume = resume
        self._presence = presence or Presence()
        self._clock = clock
        self._state = AvailabilityState()
        self._asked_s = float("-inf")
        self._idle_s: float | None = None
        self.view: PauseView | None = None
        self._regardless_until_s = float("-inf")
        self._stepping = asyncio.Lock()

    async def run(self) -> None:
        """Watch until cancelled."""
        if not self._availability.rules.enabled:
            return
        while True:
            await self.step()
            await asyncio.sleep(self._timing.rules_s)

    async def override(self, minutes: int) -> None:
        """Ignore the rules for so many minutes, a week at most; 0 ends that. It takes effect at once.

        Raises:
            UsageError: If that is no number of minutes in a week.
        """
        if not 0 <= minutes <= MOST_MINUTES:
            raise UsageError(f"That is not a number of minutes from 0 to {MOST_MINUTES}.", fix="Give another.")
        self._regardless_until_s = time.monotonic() + 60 * minutes
        if minutes and isinstance(self._state.decision, Pause):
            self._state = AvailabilityState(decision=self._state.decision, clear_since_s=float("-inf"))
        await self.step()

    async def step(self) -> None:
        """Look once and act on it. A pause takes as long as running answers take to end."""
        async with self._stepping:
            await self._step()

    async def _step(self) -> None:
        await self._ask_presence()
        sample, processes = self._look()
        was = self._state.decision
        kind = was.kind if isinstance(was, Pause) else ""
        activity = activity_of(sample, processes, self._idle_s, is_busy=self._is_busy())
        is_regardless = time.monotonic() < self._regardless_until_s
        decision = Available() if is_regardless else decide(self._clock(), activity, self._availability, paused_by=kind)
        rules = self._availability.rules
        self._state = debounce(time.monotonic(), decision, self._state, resume_after_s=rules.resume_after_s)
        now = self._state.decision
        if isinstance(now, Pause):
            await self._told(now, is_new=isinstance(was, Available))
        elif isinstance(was, Pause):
            self.view = None
            log.info("provider_resumed")
            await self._do(self._resume())

    async def _told(self, pause: Pause, *, is_new: bool) -> None:
        reason = plain(pause.reason, 200)
        before = self.view
        self.view = PauseView(
            kind=pause.kind,
            reason=reason,
            fix=plain(pause.fix, 300),
            since_ms=now_ms() if is_new or before is None else before.since_ms,
            until_ms=None if pause.until_s is None else pause.until_s * 1000,
        )
        if is_new:
            log.info("provider_paused", reason=reason)
        if is_new or before is None or before.kind != pause.kind:
            await self._do(self._pause(reason))
        elif before != self.view:
            self._events.changed("phase")

    async def _do(self, work: Awaitable[None]) -> None:
        try:
            await work
        except IdlewattError as error:
            log.warning("provider_pause_failed", error=error.line())
        self._events.changed("phase")

    async def _ask_presence(self) -> None:
        if not self._availability.wants_presence or time.monotonic() - self._asked_s < self._timing.presence_s:
            return
        self._asked_s = time.monotonic()
        try:
            async with asyncio.timeout(PRESENCE_TIMEOUT_S):
                self._idle_s = await asyncio.to_thread(self._presence.idle_s)
        except TimeoutError:
            self._idle_s = None


def watched_programs(rules: AvailabilityRules) -> frozenset[str]:
    """Names of the programs that pause the provider while they run."""
    return frozenset(rules.pause_for) if rules.enabled else frozenset()


def activity_of(
    sample: HardwareSample | None, processes: ProcessUse, idle_s: float | None, *, is_busy: bool
) -> MachineActivity:
    """The facts for the rules, from the newest readings."""
    devices = sample.devices if sample else ()
    hottest = max((one for one in devices if one.temperature_c is not None), key=_heat, default=None)
    watts = [one.power_w for one in devices if one.power_w is not None]
    user, percent = _gpu_use(devices, processes.own_pids, is_busy=is_busy)
    return MachineActivity(
        input_idle_s=idle_s,
        hottest=hottest.name if hottest else "",
        temperature_c=hottest.temperature_c if hottest else None,
        power_w=sum(watts) if watts else None,
        gpu_user=user,
        gpu_percent=percent,
        foreign_cpu_percent=processes.foreign_cpu_percent,
        wanted_by=processes.wanted_by,
    )


def _heat(reading: DeviceReading) -> float:
    return reading.temperature_c or 0.0


def _gpu_use(devices: tuple[DeviceReading, ...], own: frozenset[int], *, is_busy: bool) -> tuple[str, float | None]:
    """The busiest program that isn't ours on any GPU.

    Where a driver names no processes, the GPU's utilization counts while no job of ours runs. A process number that
    does not exist here is ignored, because a container sees the numbers of its host.
    """
    most: tuple[str, float | None] = "", None
    for device in devices:
        if device.kind != "gpu":
            continue
        told = [user for user in device.users if user.utilization_percent is not None]
        for user in told:
            percent = user.utilization_percent or 0.0
            if user.pid not in own and percent > (most[1] or 0.0):
                name = name_of(user.pid)
                if name is not None:
                    most = plain(name, 64), percent
        if not told and not is_busy and (device.utilization_percent or 0.0) > (most[1] or 0.0):
            most = "", device.utilization_percent
    return most
