"""Hours of the week as people write them: ``22:00-06:00``, ``mon-fri 18:00-08:00``, ``sat,sun``.

A span that ends at or before its beginning goes on into the next day. They follow the clock on the wall, which skips an
hour in spring and shows one twice in autumn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from chain.errors import IdlewattError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 1_440
MINUTES_A_WEEK: Final = 7 * MINUTES_A_DAY
MAX_SPANS: Final = 64
_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)
_NEAR_MINUTES: Final = 180
"""So close before a change every minute is checked: clocks are put forward and back by less."""
_SEARCH_MINUTES: Final = 9 * MINUTES_A_DAY


class HoursError(IdlewattError):
    """Hours that can't be read."""

    default_code = "bad_config"


class Span(msgspec.Struct, frozen=True):
    """The same hours on some days: minutes from midnight; ``end`` may lie after midnight of the next day."""

    days: tuple[int, ...]
    start: int
    end: int

    def minutes(self) -> Iterable[int]:
        """The minutes of the week it covers, counted from Monday 00:00."""
        for day in self.days:
            first = day * MINUTES_A_DAY
            yield from (minute % MINUTES_A_WEEK for minute in range(first + self.start, first + self.end))


class Week:
    """A set of minutes of the week."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        marks = bytearray(MINUTES_A_WEEK)
        for span in spans:
            for minute in span.minutes():
                marks[minute] = 1
        self._marks = bytes(marks)

    def holds(self, at_s: float, zone: tzinfo | None = None) -> bool:
        """Whether a moment (seconds UTC) lies within; ``None`` is the machine's own zone."""
        return bool(self._marks[minute_of_week(at_s, zone)])

    def next_change_s(self, at_s: float, zone: tzinfo | None = None) -> int | None:
        """The first whole minute after ``at_s`` at which :meth:`holds` answers otherwise; ``None`` for never."""
        now = self.holds(at_s, zone)
        wanted = 0 if now else 1
        if wanted not in self._marks:
            return None
        moment = int(at_s) // 60 * 60
        last = moment + _SEARCH_MINUTES * 60
        while moment < last:
            minute = minute_of_week(moment, zone)
            at = self._marks.find(wanted, minute + 1)
            distance = at - minute if at >= 0 else self._marks.find(wanted) + MINUTES_A_WEEK - minute
            moment += 60 if distance <= _NEAR_MINUTES else 3_600
            if self.holds(moment, zone) is not now:
                return moment
        return None


def minute_of_week(at_s: float, zone: tzinfo | None = None) -> int:
    """What the clock on the wall says, in minutes from Monday 00:00."""
    local = datetime.fromtimestamp(at_s, UTC).astimezone(zone)
    return local.weekday() * MINUTES_A_DAY + local.hour * 60 + local.minute


def clock_text(at_s: float, now_s: float, zone: tzinfo | None = None) -> str:
    """A moment as a person names it: ``22:00`` today or tomorrow morning, else with its day.

    Args:
        at_s: The moment, in seconds UTC.
        now_s: The present, in seconds UTC.
        zone: The time zone; None for this machine's.
    """
    local = datetime.fromtimestamp(at_s, UTC).astimezone(zone)
    near = local - datetime.fromtimestamp(now_s, UTC).astimezone(zone) < timedelta(hours=18)
    return local.strftime("%H:%M") if near else f"{DAYS[local.weekday()]} {local:%H:%M}"


def parse_spans(texts: Iterable[str], key: str) -> tuple[Span, ...]:
    """Read a setting's hours.

    Raises:
        HoursError: If one can't be read; the line names the setting.
    """
    listed = list(texts)
    if len(listed) > MAX_SPANS:
        raise HoursError(f"The setting {key} has more than {MAX_SPANS} entries.", fix="Join some.")
    return tuple(parse_span(text, key) for text in listed)


def parse_span(text: str, key: str) -> Span:
    """Read ``days``, ``hours`` or ``days hours``.

    Raises:
        HoursError: If it can't be read; the line names the setting.
    """
    words = text.lower().split()
    has_hours = bool(words) and ":" in words[-1]
    if not words or len(words) > (2 if has_hours else 1):
        raise _wrong(text, key)
    days = parse_days(words[0], key) if len(words) == 2 or not has_hours else tuple(range(7))
    if not has_hours:
        return Span(days, 0, MINUTES_A_DAY)
    first, dash, last = words[-1].partition("-")
    if not dash:
        raise _wrong(text, key)
    return hours(days, first, last, key)


def hours(days: tuple[int, ...], first: str, last: str, key: str) -> Span:
    """The span between two times of day.

    Raises:
        HoursError: If one is no time of day, or both are the same.
    """
    start, end = _minute(first, key), _minute(last, key)
    if start in {end, MINUTES_A_DAY}:
        raise HoursError(
            f"The setting {key} has hours that begin where they end, or at 24:00: {first[:8]}-{last[:8]}.",
            fix="For a whole day name the day alone, such as mon, or write 00:00-24:00.",
        )
    return Span(days, start, end if end > start else end + MINUTES_A_DAY)


def parse_days(text: str, key: str) -> tuple[int, ...]:
    """Read ``mon-fri``, ``sat,sun`` or a mixture; ``fri-mon`` goes over the weekend.

    Raises:
        HoursError: If a word is no day.
    """
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise _wrong(text, key)
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 if dash else 0
        days |= {(start + step) % 7 for step in range(length + 1)}
    return tuple(sorted(days))


def _minute(text: str, key: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise _wrong(text, key)
    return MINUTES_A_DAY if found[1] is None else int(found[1]) * 60 + int(found[2])


def _wrong(text: str, key: str) -> HoursError:
    shown = "".join(character if character.isprintable() else "?" for character in text[:32])
    return HoursError(
        f"The setting {key} has hours that can't be read: {shown!r}.",
        fix='Write them as "22:00-06:00", "mon-fri 18:00-08:00" or "sat,sun".',
    )
