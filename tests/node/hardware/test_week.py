"""Hours of the week by the clock on the wall, through both its changes, and a kilowatt-hour's price then."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.hardware.tariff import ASSUMED_NANO_PER_KWH, PartRule, Tariff, cost_nano, tariff
from node.hardware.week import (
    MINUTES_A_DAY,
    MINUTES_A_WEEK,
    HoursError,
    Span,
    Week,
    clock_text,
    minute_of_week,
    parse_days,
    parse_span,
    parse_spans,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from([ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")])
MOMENTS = st.integers(1_700_000_000, 1_900_000_000)
SPANS = st.builds(
    lambda days, start, length: Span(tuple(sorted(days)), start, start + length),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, MINUTES_A_DAY - 1),
    st.integers(1, MINUTES_A_DAY),
)


def at(text: str, zone=BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("22:00-06:00", Span(tuple(range(7)), 22 * 60, 30 * 60)),
        ("mon-fri 18:00-08:00", Span((0, 1, 2, 3, 4), 18 * 60, 32 * 60)),
        ("sat,sun", Span((5, 6), 0, MINUTES_A_DAY)),
        ("fri-mon 9:05-9:06", Span((0, 4, 5, 6), 545, 546)),
        ("SUN 00:00-24:00", Span((6,), 0, MINUTES_A_DAY)),
    ],
)
def test_hours_are_read_as_people_write_them(text, span):
    assert parse_span(text, "availability.hours") == span


@pytest.mark.parametrize(
    "text",
    ["", "22:00", "22:00-", "25:00-26:00", "mon-", "xyz", "mon tue 1:00-2:00", "1:00-2:00 mon", "10:00-10:00",
     "٢٢:00-23:00", "24:00-06:00", "mon,,tue", "1:0-2:00", "\x1b[31m" * 20],
)  # fmt: skip
def test_hours_that_mean_nothing_are_refused_in_one_harmless_line_that_names_the_setting(text):
    with pytest.raises(HoursError, match=r"availability\.hours") as failure:
        parse_span(text, "availability.hours")
    assert failure.value.fix
    assert "\x1b" not in failure.value.line()


def test_too_many_hours_are_refused():
    with pytest.raises(HoursError, match="more than"):
        parse_spans(["mon"] * 65, "availability.hours")


def test_a_night_goes_on_into_the_next_day():
    week = Week(parse_spans(["fri 22:00-06:00"], "x"))
    assert week.holds(at("2026-11-20 23:00"), BERLIN)  # a Friday
    assert week.holds(at("2026-11-21 05:59"), BERLIN)
    assert not week.holds(at("2026-11-21 06:00"), BERLIN)
    assert not week.holds(at("2026-11-19 23:00"), BERLIN)


def test_a_sunday_night_goes_on_into_monday():
    week = Week(parse_spans(["sun 22:00-06:00"], "x"))
    assert week.holds(at("2026-11-23 05:00"), BERLIN)


def test_hours_follow_the_clock_on_the_wall_when_it_is_put_forward_and_back():
    week = Week(parse_spans(["02:00-03:00"], "x"))
    spring, autumn = at("2026-03-29 01:59:30"), at("2026-10-25 01:59:30")
    # In spring that hour is skipped, in autumn it comes twice.
    assert sum(week.holds(spring + 60 * minute, BERLIN) for minute in range(180)) == 0
    assert sum(week.holds(autumn + 60 * minute, BERLIN) for minute in range(180)) == 120


@given(st.lists(SPANS, max_size=4), MOMENTS, ZONES)
@settings(max_examples=60, deadline=None)
def test_a_moment_is_within_exactly_when_one_span_covers_its_minute(spans, moment, zone):
    minute = minute_of_week(moment, zone)
    covered = any(
        (minute - day * MINUTES_A_DAY - span.start) % MINUTES_A_WEEK < span.end - span.start
        for span in spans
        for day in span.days
    )
    assert Week(spans).holds(moment, zone) is covered


@given(st.lists(SPANS, max_size=3), MOMENTS, ZONES)
@settings(max_examples=30, deadline=None)
def test_the_next_change_is_the_first_minute_that_differs(spans, moment, zone):
    week = Week(spans)
    change = week.next_change_s(moment, zone)
    now = week.holds(moment, zone)
    if change is None:
        assert all(week.holds(moment + 60 * minute, zone) is now for minute in range(0, MINUTES_A_WEEK, 30))
        return
    assert change > moment
    assert week.holds(change, zone) is not now
    assert all(week.holds(change - 60 * minute, zone) is now for minute in range(1, min(200, (change - moment) // 60)))


@pytest.mark.parametrize("start", ["2026-03-28 12:00", "2026-10-24 12:00"])
def test_the_next_change_is_found_across_a_change_of_the_clock(start):
    week = Week(parse_spans(["02:30-09:00"], "x"))
    change = week.next_change_s(at(start), BERLIN)
    local = datetime.fromtimestamp(change, UTC).astimezone(BERLIN)
    assert (local.hour, local.minute) == ((3, 0) if "03-28" in start else (2, 30))


def test_a_moment_is_named_as_near_as_it_is():
    now = at("2026-11-20 20:00")
    assert clock_text(at("2026-11-21 06:00"), now, BERLIN) == "06:00"
    assert clock_text(at("2026-11-23 08:30"), now, BERLIN) == "mon 08:30"


def part(first: str, last: str, price: str, days: str = "mon-sun") -> PartRule:
    return PartRule(start=first, to=last, price_per_kwh=Decimal(price), days=days)


def test_the_night_has_its_own_price():
    found = tariff(Decimal("0.31"), [part("22:00", "06:00", "0.19")])
    assert found.nano_per_kwh(at("2026-11-20 12:00"), BERLIN) == 310_000_000
    assert found.nano_per_kwh(at("2026-11-20 22:00"), BERLIN) == 190_000_000
    assert found.nano_per_kwh(at("2026-11-20 05:59"), BERLIN) == 190_000_000
    assert (found.highest_nano_per_kwh, found.is_assumed) == (310_000_000, False)


def test_a_price_that_nobody_gave_says_that_it_is_assumed():
    assert tariff(None) == Tariff()
    assert (Tariff().is_assumed, Tariff().nano_per_kwh(0.0)) == (True, ASSUMED_NANO_PER_KWH)


@pytest.mark.parametrize(
    ("price", "parts", "said"),
    [
        ("0.3", [part("22:00", "06:00", "0.2"), part("05:00", "07:00", "0.1")], "22:00 and from 05:00 overlap"),
        ("0.3", [part("22:00", "06:00", "0.2", "sun"), part("05:00", "07:00", "0.1", "mon")], "overlap"),
        ("-1", [], "price from 0"),
        ("NaN", [], "price from 0"),
        ("101", [], "price from 0"),
        ("0.0000000001", [], "finer"),
        ("0.3", [part("22:00", "22:00", "0.2")], "begin where they end"),
        ("0.3", [part("22:00", "06:00", "Infinity")], "price from 0"),
        ("0.3", [part("22:00", "06:00", "0.2", "someday")], "can't be read"),
        (None, [part("22:00", "06:00", "0.2")], "needs energy.price_per_kwh"),
        ("0.3", [part("22:00", "06:00", "0.2")] * 49, "more than 48"),
    ],
)
def test_a_tariff_that_can_not_be_meant_is_refused(price, parts, said):
    with pytest.raises(HoursError, match=said) as failure:
        tariff(None if price is None else Decimal(price), parts)
    assert failure.value.fix


@given(st.lists(SPANS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_parts_are_refused_exactly_when_two_cover_the_same_minute(spans):
    def text(minute: int) -> str:
        return f"{minute // 60:02d}:{minute % 60:02d}"

    rules, minutes = [], []
    for span in spans:
        days = ",".join(("mon", "tue", "wed", "thu", "fri", "sat", "sun")[day] for day in span.days)
        if span.start == span.end % MINUTES_A_DAY and span.end != MINUTES_A_DAY:
            continue  # written out, it would begin where it ends
        end = MINUTES_A_DAY if span.end == MINUTES_A_DAY else span.end % MINUTES_A_DAY
        rules.append(PartRule(start=text(span.start), to=text(end), price_per_kwh=Decimal(1), days=days))
        minutes += span.minutes()
    overlap = len(minutes) != len(set(minutes))
    try:
        tariff(Decimal(1), rules)
        refused = False
    except HoursError:
        refused = True
    assert refused is overlap


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**11)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_cost_is_rounded_up_once_and_never_below_what_it_is(amounts):
    priced = sum(energy * price for energy, price in amounts)
    cost = cost_nano(priced)
    assert priced <= cost * 3_600_000_000 < priced + 3_600_000_000


def test_a_part_is_read_from_its_toml_names():
    rule = msgspec.convert({"from": "22:00", "to": "06:00", "price_per_kwh": "0.2"}, PartRule)
    assert (rule.start, rule.days) == ("22:00", "mon-sun")


def test_days_over_the_weekend():
    assert parse_days("fri-mon", "x") == (0, 4, 5, 6)
