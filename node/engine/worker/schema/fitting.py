"""Whether values meet parts of a schema, and whether parts leave any value at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from node.engine.protocol import EngineError
from node.engine.worker.regular.charsets import TEXT, contains
from node.engine.worker.regular.expression import Expression, Search, takes
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.schema.keywords import decimal, same, type_of, whole
from node.engine.worker.schema.parts import Arrays, Goal, Members, Numbers, Objects, Part, Texts, Values, both

_DEPTH = 4
"""How deep two parts are compared with one another."""


class Fitting:
    """Asks whether a value meets a goal.

    Args:
        parts: The alternatives of a goal.
    """

    def __init__(self, parts: Callable[[Goal], list[Part]]) -> None:
        self._parts = parts
        self._depth = 0

    def meets(self, value: Any, goal: Goal) -> bool:
        """Whether a value surely meets a goal."""
        return any(self.fits(value, part) for part in self._parts(goal))

    def fits(self, value: Any, part: Part) -> bool:
        """Whether a value surely is what a part says."""
        kind, text = type_of(value), same(value)
        if kind not in part.types or text in dict(part.excluded.by_text):
            return False
        if part.values is not None and text not in dict(part.values.by_text):
            return False
        match value:
            case bool() | None:
                return True
            case str():
                return _is_text(value, part.texts)
            case int() | float():
                return _is_number(value, part.numbers)
            case list():
                return self._is_array(value, part.arrays)
        return self._is_object(value, part.objects)

    def _is_array(self, value: list[Any], arrays: Arrays) -> bool:
        return (
            _within(len(value), arrays.least, arrays.most)
            and (not arrays.distinct or len({same(one) for one in value}) == len(value))
            and all(self.meets(one, arrays.item(place)) for place, one in enumerate(value))
            and all(any(self.meets(one, goal) for one in value) for goal in arrays.holds)
        )

    def _is_object(self, value: dict[str, Any], objects: Objects) -> bool:
        return (
            _within(len(value), objects.least, objects.most)
            and all(name in value for name in objects.required)
            and all(self.meets(name, objects.names) for name in value)
            and all(self.meets(one, member(objects, name)) for name, one in value.items())
        )

    def apart(self, one: Part, other: Part) -> bool:
        """Whether surely no value is what both say; False if there is no telling."""
        met = one.met(other)
        return met is None or self.pruned(met) is None

    def pruned(self, part: Part) -> Part | None:
        """A part without the types of which surely nothing is left; None if none is left."""
        if self._depth > _DEPTH:
            return part
        self._depth += 1
        try:
            types = frozenset(kind for kind in part.types if self._may_be(kind, part))
        finally:
            self._depth -= 1
        if not types:
            return None
        return part if types == part.types else replace(part, types=types)

    def _may_be(self, kind: str, part: Part) -> bool:
        if part.values is not None and not any(type_of(one) == kind for one in part.values.all()):
            return False
        match kind:
            case "number":
                low, high = part.numbers.low, part.numbers.high
                if low is None or high is None:
                    return True
                return low.value < high.value or (low.value == high.value and not low.excluded | high.excluded)
            case "string":
                return part.texts.most is None or part.texts.least <= part.texts.most
            case "array":
                return part.arrays.most is None or part.arrays.least <= part.arrays.most
            case "object":
                return self._may_be_object(part.objects)
            case "null":
                return not any(one is None for one in part.excluded.all())
        return True

    def _may_be_object(self, objects: Objects) -> bool:
        most = objects.most
        if most is not None and (most < objects.least or most < len(objects.required)):
            return False
        return all(self._may_be_met(member(objects, name)) for name in objects.required)

    def _may_be_met(self, goal: Goal) -> bool:
        try:
            return any(self.pruned(part) is not None for part in self._parts(goal))
        except EngineError:
            # A schema that holds itself is still being read: there is no telling yet.
            return True

    def kept(self, part: Part) -> Values:
        """The values of a part that are what it says."""
        found = () if part.values is None else part.values.by_text
        return Values(tuple(one for one in found if self.fits(one[1], replace(part, values=None))))


def member(objects: Objects, name: str) -> Goal:
    """What a property of a name must be."""
    return both(*(_member(one, name) for one in objects.members))


def _member(members: Members, name: str) -> Goal:
    """What one schema says of a property.

    Where it isn't sure that a pattern is found in the name, both must be met, or neither if it is read widely.
    """
    named = dict(members.named)
    goals = [named[name]] if name in named else []
    surely = maybe = name in named
    for form, goal in members.patterns:
        is_found, may_be_found = found_in(form, name)
        surely, maybe = surely or is_found, maybe or may_be_found
        if is_found or (may_be_found and not members.maybe):
            goals.append(goal)
    if members.rest is not None and not (maybe if members.maybe else surely):
        goals.append(members.rest)
    return both(*goals)


@lru_cache(4_096)
def found_in(pattern: str, text: str) -> tuple[bool, bool]:
    """Whether a pattern is surely found in a text, and whether it may be.

    Raises:
        EngineError: With code ``bad_request`` if it is no pattern that an answer can be held to.
    """
    surely = takes(Search((_parsed(pattern, widely=False),)), text)
    odd = any(not contains(TEXT, ord(char)) for char in text)
    return surely, surely or odd or takes(Search((_parsed(pattern, widely=True),)), text)


@lru_cache(1_024)
def _parsed(pattern: str, *, widely: bool) -> Expression:
    return parsed(pattern, widely=widely)


def _is_text(value: str, asked: Texts) -> bool:
    return (
        _within(len(value), asked.least, asked.most)
        and all(found_in(one, value)[0] for one in asked.patterns)
        and all(found_in(PATTERNS[name], value)[0] for name in asked.formats)
        and not any(found_in(one, value)[1] for one in asked.without)
    )


def _is_number(value: float, asked: Numbers) -> bool:
    low, high, exact = asked.low, asked.high, decimal(value, "enum")
    if asked.whole and not whole(value):
        return False
    if low is not None and not (exact > low.value or (exact == low.value and not low.excluded)):
        return False
    if high is not None and not (exact < high.value or (exact == high.value and not high.excluded)):
        return False
    return all(_is_multiple(exact, value, step) for step in asked.steps)


def _is_multiple(exact: Decimal, value: float, step: Decimal) -> bool:
    """Whether a number is a multiple both exactly and as doubles."""
    if abs(exact) >= 2**53 or abs(exact / step) >= 2**53:
        return False
    return exact % step == 0 and float(value) / float(step) == int(float(value) / float(step))


def _within(count: int, least: int, most: int | None) -> bool:
    return least <= count and (most is None or count <= most)
