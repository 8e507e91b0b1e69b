"""Whether the machine may be rented out now: hours, people, other programs, heat and power. Pure, with hysteresis."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

import msgspec

from node.hardware.rules import AvailabilityRules
from node.hardware.week import Week, clock_text, parse_spans

HELD_S: Final = 4.0
"""A use of GPU or processor, a power or a heat must last so long before it pauses: peaks don't."""
COOLER_C: Final = 5.0
"""How far below the most the temperature must fall before it goes on."""
EASED: Final = 0.7
"""Of a threshold for use or power: below this it goes on."""
AT_ONCE: Final = frozenset({"hours", "quiet_hours", "program", "person"})
"""Pauses that begin at the first look."""
BY_THE_CLOCK: Final = frozenset({"hours", "quiet_hours", "person"})
"""Pauses that end at a known moment; nothing more is waited for then."""
OVERRIDE: Final = "Or rent out regardless: o on the Dashboard (an hour), or idlewatt serve --always-available."


class MachineActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine is doing; ``None`` where nothing reports."""

    input_idle_s: float | None = None
    """Seconds since the last key or click."""
    hottest: str = ""
    temperature_c: float | None = None
    """Of the hottest device."""
    power_w: float | None = None
    """Of all devices that report, together."""
    gpu_user: str = ""
    gpu_percent: float | None = None
    """What the busiest other program uses of a GPU."""
    foreign_cpu_percent: float | None = None
    """What all other programs use of the processor."""
    wanted_by: tuple[str, ...] = ()
    """Programs that run and have the machine to themselves."""


class Available(msgspec.Struct, frozen=True):
    """The machine may be rented out."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The machine may not be rented out: why, what would change it, and when it ends if the clock ends it."""

    kind: str
    reason: str
    fix: str
    until_s: int | None = None


class AvailabilityPolicy:
    """The rules with their hours as they are looked up.

    Args:
        rules: What a person set.
        zone: The time zone of the hours; by default this machine's.

    Raises:
        HoursError: If hours can't be read.
    """

    def __init__(self, rules: AvailabilityRules, zone: tzinfo | None = None) -> None:
        self.rules = rules
        self.zone = zone
        hours = parse_spans(rules.hours, "availability.hours")
        quiet = parse_spans(rules.quiet_hours, "availability.quiet_hours")
        self.hours = Week(hours) if hours else None
        self.quiet_hours = Week(quiet) if quiet else None

    @property
    def wants_presence(self) -> bool:
        """Whether the time of the last key or click matters."""
        return self.rules.enabled and self.rules.person_idle_minutes > 0


def decide(
    now_s: float, activity: MachineActivity, policy: AvailabilityPolicy, *, paused_by: str = ""
) -> Available | Pause:
    """Whether to run at this moment.

    Args:
        now_s: Seconds UTC.
        activity: What the machine is doing.
        policy: The rules.
        paused_by: The kind of the pause that is on: its threshold is eased, so that it doesn't flutter.
    """
    if not policy.rules.enabled:
        return Available()
    found = (
        _by_hours(now_s, policy)
        or _by_programs(activity)
        or _by_person(now_s, activity, policy)
        or _by_heat(activity, policy.rules, paused_by)
        or _by_use(activity, policy.rules, paused_by)
        or _by_power(activity, policy.rules, paused_by)
    )
    return found or Available()


def _by_hours(now_s: float, policy: AvailabilityPolicy) -> Pause | None:
    for kind, week, is_allowed in (("hours", policy.hours, True), ("quiet_hours", policy.quiet_hours, False)):
        if week is None or week.holds(now_s, policy.zone) is is_allowed:
            continue
        until_s = week.next_change_s(now_s, policy.zone)
        when = f" until {clock_text(until_s, now_s, policy.zone)}" if until_s is not None else ""
        why = "These are not the hours" if is_allowed else "These are quiet hours"
        return Pause(
            kind=kind, reason=f"{why}{when}.", fix=f"Change {kind} in [availability]. {OVERRIDE}", until_s=until_s
        )
    return None


def _by_programs(activity: MachineActivity) -> Pause | None:
    if not activity.wanted_by:
        return None
    names = ", ".join(activity.wanted_by[:3])
    verb = "runs" if len(activity.wanted_by) == 1 else "run"
    fix = f"Close it, or take it out of pause_for in [availability]. {OVERRIDE}"
    return Pause(kind="program", reason=f"{names} {verb} on this machine.", fix=fix)


def _by_person(now_s: float, activity: MachineActivity, policy: AvailabilityPolicy) -> Pause | None:
    minutes, idle_s = policy.rules.person_idle_minutes, activity.input_idle_s
    if not minutes or idle_s is None or idle_s >= minutes * 60:
        return None
    fix = (
        f"It goes on {minutes:g} min after the last key or click; see person_idle_minutes in [availability]. {OVERRIDE}"
    )
    until_s = int(now_s + minutes * 60 - idle_s) + 1
    return Pause(kind="person", reason="Somebody uses this machine.", fix=fix, until_s=until_s)


def _by_heat(activity: MachineActivity, rules: AvailabilityRules, paused_by: str) -> Pause | None:
    most, now = rules.max_temperature_c, activity.temperature_c
    if most is None or now is None or now <= most - (COOLER_C if paused_by == "temperature" else 0.0):
        return None
    fix = f"It goes on below {most - COOLER_C:g} °C; see max_temperature_c in [availability]. {OVERRIDE}"
    return Pause(kind="temperature", reason=f"{activity.hottest or 'A device'} is at {now:.0f} °C.", fix=fix)


def _by_use(activity: MachineActivity, rules: AvailabilityRules, paused_by: str) -> Pause | None:
    most, used = rules.foreign_gpu_percent, activity.gpu_percent
    if most and used is not None and used >= most * (EASED if paused_by == "gpu" else 1.0):
        who = activity.gpu_user or "Another program"
        fix = f"Close it, or raise foreign_gpu_percent in [availability]. {OVERRIDE}"
        return Pause(kind="gpu", reason=f"{who} uses {used:.0f} % of a GPU.", fix=fix)
    most, used = rules.foreign_cpu_percent, activity.foreign_cpu_percent
    if most and used is not None and used >= most * (EASED if paused_by == "cpu" else 1.0):
        fix = f"Close them, or raise foreign_cpu_percent in [availability]. {OVERRIDE}"
        return Pause(kind="cpu", reason=f"Other programs use {used:.0f} % of the processor.", fix=fix)
    return None


def _by_power(activity: MachineActivity, rules: AvailabilityRules, paused_by: str) -> Pause | None:
    most, now = rules.max_power_w, activity.power_w
    if most is None or now is None or now <= most * (EASED if paused_by == "power" else 1.0):
        return None
    fix = f"It goes on below {most * EASED:.0f} W; see max_power_w in [availability]. {OVERRIDE}"
    return Pause(kind="power", reason=f"The devices take {now:.0f} W.", fix=fix)


class AvailabilityState(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided last, and what is about to change it."""

    decision: Available | Pause = Available()
    since_s: float = 0.0
    pending: str = ""
    """A kind of pause that was seen but has not lasted yet."""
    pending_since_s: float = 0.0
    clear_since_s: float | None = None
    """Since when nothing has spoken against going on."""


def debounce(
    now_s: float, decision: Available | Pause, before: AvailabilityState, *, resume_after_s: float
) -> AvailabilityState:
    """The state after one more look: peaks don't pause, and a machine that is free for a moment isn't taken.

    Args:
        now_s: Seconds, of any clock that goes forward.
        decision: What :func:`decide` says at this moment.
        before: The state until now.
        resume_after_s: How long the machine must have been free, unless the clock ended the pause.
    """
    if isinstance(before.decision, Pause):
        return _after_pause(now_s, decision, before, before.decision, resume_after_s)
    if isinstance(decision, Available):
        return AvailabilityState(decision=decision, since_s=before.since_s)
    if decision.kind in AT_ONCE:
        return AvailabilityState(decision=decision, since_s=now_s)
    first_s = before.pending_since_s if before.pending else now_s
    if now_s - first_s >= HELD_S:
        return AvailabilityState(decision=decision, since_s=now_s)
    return msgspec.structs.replace(before, pending=decision.kind, pending_since_s=first_s)


def _after_pause(
    now_s: float, decision: Available | Pause, before: AvailabilityState, was: Pause, resume_after_s: float
) -> AvailabilityState:
    if isinstance(decision, Pause):
        return AvailabilityState(decision=decision, since_s=before.since_s)
    clear_s = now_s if before.clear_since_s is None else before.clear_since_s
    if was.kind in BY_THE_CLOCK or now_s - clear_s >= resume_after_s:
        return AvailabilityState(decision=decision, since_s=now_s)
    return msgspec.structs.replace(before, clear_since_s=clear_s)
