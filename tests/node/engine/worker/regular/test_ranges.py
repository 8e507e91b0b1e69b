"""A range admits the numbers between its bounds and no others, digit by digit."""

from __future__ import annotations

import json
import random
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.regular.ranges import MOST_WHOLE, Bound, Range, numbers
from tests.node.engine.worker.regular.drawing import drawn, unless_empty

VALUES = st.one_of(
    st.integers(-120, 120).map(Decimal),
    st.integers(-(10**17), 10**17).map(Decimal),
    st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 8)).map(lambda pair: Decimal(pair[0]).scaleb(-pair[1])),
    st.sampled_from(["0", "1", "10", "-1", "99", "100", "0.1", "-0.1", "1e-5", "1e300", "-1e300"]).map(Decimal),
)
BOUNDS = st.none() | st.builds(Bound, VALUES, st.booleans())


def within(value: Decimal, asked: Range) -> bool:
    low, high = asked.low, asked.high
    above = low is None or value > low.value or (value == low.value and not low.excluded)
    beneath = high is None or value < high.value or (value == high.value and not high.excluded)
    return above and beneath and (asked.step is None or value % asked.step == 0)


def around(asked: Range, places: int, dice: random.Random) -> list[Decimal]:
    """Numbers at, beside and near the bounds, and some others."""
    unit = Decimal(1).scaleb(-places)
    bounds = [one.value for one in (asked.low, asked.high) if one and abs(one.value) < 10**17] or [Decimal(0)]
    near = [bound.quantize(unit, way) for bound in bounds for way in (ROUND_FLOOR, ROUND_CEILING)]
    steps = [-10, -2, -1, 0, 1, 2, 10, *(dice.randint(-5_000, 5_000) for _ in range(8))]
    return [one + step * unit for one in [*near, Decimal(0).quantize(unit)] for step in steps]


@settings(max_examples=50, deadline=None)
@given(BOUNDS, BOUNDS, st.booleans(), st.integers(0, 2**32))
def test_the_numbers_near_the_bounds_are_admitted_or_not_exactly(low, high, whole, seed):
    asked = Range(low, high, whole=whole)
    dice = random.Random(seed)
    places = 0 if whole else dice.choice([0, 1, 2, 6, 8])
    candidates = [one for one in around(asked, places, dice) if one or not one.is_signed()]
    longest = len(str(MOST_WHOLE)) if whole else 15
    wanted = {
        f"{one:f}": within(one, asked) and len(one.as_tuple().digits) <= longest and abs(one) <= MOST_WHOLE
        for one in candidates
        if len(f"{abs(one):f}".replace(".", "")) <= 15 or (whole and abs(one) <= MOST_WHOLE)
    }
    found = unless_empty(lambda: numbers(asked, "the bounds"))
    if found is None:
        assert not any(wanted.values())
        return
    assert {text: found.takes(text) for text in wanted} == wanted


@settings(max_examples=50, deadline=None)
@given(BOUNDS, BOUNDS, st.booleans(), st.integers(0, 2**32))
def test_whatever_is_written_validates_as_a_validator_reads_it(low, high, whole, seed):
    schema: dict[str, object] = {"type": "integer" if whole else "number"}
    for bound, name in ((low, "inimum"), (high, "aximum")):
        if bound is not None:
            key = ("exclusiveM" if bound.excluded else "m") + name
            # A bound of no more digits than doubles hold, as JSON reads it.
            schema[key] = int(bound.value) if bound.value == bound.value.to_integral_value() else float(bound.value)
    found = unless_empty(lambda: numbers(Range(low, high, whole=whole), "the bounds"))
    if found is None:
        return
    dice = random.Random(seed)
    for _ in range(10):
        text = drawn(found, dice)
        assert text is not None
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
        # As JavaScript's validators do, which have no other numbers than doubles.
        read = {key: float(value) for key, value in schema.items() if key != "type" and abs(value) < 10**300}
        jsonschema.validate(float(text), read, jsonschema.Draft202012Validator)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["1", "2", "3", "7", "10", "50", "0.75", "0.25", "0.5", "1.5"]), BOUNDS, st.integers(0, 2**32))
def test_multiples_are_exact(step, high, seed):
    asked = Range(None, high, Decimal(step))
    found = unless_empty(lambda: numbers(asked, "the bounds"))
    if found is None:
        return
    dice = random.Random(seed)
    scale = max(0, -int(Decimal(step).as_tuple().exponent))
    near = [one for one in around(asked, scale, dice) if len(str(abs(int(one)))) <= 15 - scale]
    for one in near:
        if (one or not one.is_signed()) and len(f"{abs(one):f}".replace(".", "")) <= 15:
            assert found.takes(f"{one:f}") == within(one, asked)
    for _ in range(10):
        text = drawn(found, dice)
        assert text is not None
        for read in (int if Decimal(step) % 1 == 0 else float, float):
            jsonschema.validate(read(text), {"multipleOf": read(step)}, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("text", ["007", "-0", "-0.0", "1.", ".5", "+1", "1e1", "-", "", "0123", "00", "1 "])
def test_what_json_has_no_such_number_for_is_not_written(text):
    assert not numbers(Range(Bound(Decimal(-50)), Bound(Decimal(50))), "the bounds").takes(text)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (Range(Bound(Decimal(3)), Bound(Decimal(2))), "Nothing fits"),
        (Range(Bound(Decimal(3), True), Bound(Decimal(4), True), whole=True), "Nothing fits"),
        (Range(Bound(Decimal(3), True), Bound(Decimal(3))), "Nothing fits"),
        (Range(Bound(Decimal(2**53)), whole=True), "Nothing fits"),
        (Range(Bound(Decimal(11)), Bound(Decimal(13)), Decimal(10)), "Nothing fits"),
        (Range(step=Decimal(1_000)), "up to 100"),
        (Range(step=Decimal("1e-300")), "up to 100"),
        (Range(step=Decimal("0.01")), "multiple of 0.25"),
        (Range(step=Decimal(0)), "above 0"),
    ],
)
def test_a_range_without_numbers_is_refused(asked, line):
    with pytest.raises(EngineError, match=line) as error:
        numbers(asked, "the bounds")
    assert error.value.code == "bad_request"
