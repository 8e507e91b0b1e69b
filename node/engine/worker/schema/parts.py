"""What a schema says of a value, type by type: parts that all hold at once, of which a value meets one or another.

A part speaks of the inside of a value by the numbers of the document's parts, so that a schema may hold itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import IntEnum
from typing import Any

from node.engine.worker.schema.keywords import TYPES, same, type_of


class Mode(IntEnum):
    """How a part of the document is read."""

    HELD = 0
    """Values that surely meet it; maybe not all of them."""
    DENIED = 1
    """Values that surely don't meet it; maybe not all of them."""
    MAYBE = 2
    """All values that meet it; maybe others."""


Term = tuple[int, Mode]
"""A part of the document by its number, and how it is read."""
Goal = tuple[Term, ...]
"""What a value must meet all at once; nothing for any value."""


def both(*goals: Iterable[Term]) -> Goal:
    """All terms of some goals, each once."""
    return tuple(dict.fromkeys(term for goal in goals for term in goal))


@dataclass(frozen=True)
class End:
    """A bound of numbers."""

    value: Decimal
    excluded: bool = False


@dataclass(frozen=True)
class Numbers:
    """What numbers must be."""

    lows: tuple[End, ...] = ()
    highs: tuple[End, ...] = ()
    steps: tuple[Decimal, ...] = ()
    whole: bool = False

    def met(self, other: Numbers) -> Numbers:
        """What both say."""
        return Numbers(
            self.lows + other.lows,
            self.highs + other.highs,
            tuple(dict.fromkeys(self.steps + other.steps)),
            self.whole or other.whole,
        )

    @property
    def low(self) -> End | None:
        """The narrowest of the least bounds; of two at one place, the one that leaves the place itself out."""
        return max(self.lows, key=lambda end: (end.value, end.excluded), default=None)

    @property
    def high(self) -> End | None:
        """The narrowest of the greatest bounds."""
        return min(self.highs, key=lambda end: (end.value, not end.excluded), default=None)


@dataclass(frozen=True)
class Texts:
    """What strings must be."""

    least: int = 0
    most: int | None = None
    patterns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Patterns that must not be found."""
    formats: tuple[str, ...] = ()

    def met(self, other: Texts) -> Texts:
        """What both say."""
        return Texts(
            max(self.least, other.least),
            least_of(self.most, other.most),
            tuple(dict.fromkeys(self.patterns + other.patterns)),
            tuple(dict.fromkeys(self.without + other.without)),
            tuple(dict.fromkeys(self.formats + other.formats)),
        )


@dataclass(frozen=True)
class Members:
    """What one schema says of the properties of an object."""

    named: tuple[tuple[str, Goal], ...] = ()
    patterns: tuple[tuple[str, Goal], ...] = ()
    rest: Goal | None = None
    """Of properties that neither are named nor have a name of a pattern; None if it says nothing."""
    evaluates: bool = True
    """Whether it counts for ``unevaluatedProperties``."""
    maybe: bool = False
    """Whether it is read so that it holds for too many values rather than too few."""


@dataclass(frozen=True)
class Objects:
    """What objects must be."""

    members: tuple[Members, ...] = ()
    required: tuple[str, ...] = ()
    names: Goal = ()
    """What each name must be, as a string."""
    least: int = 0
    most: int | None = None

    def met(self, other: Objects) -> Objects:
        """What both say."""
        return Objects(
            tuple(dict.fromkeys(self.members + other.members)),
            tuple(dict.fromkeys(self.required + other.required)),
            both(self.names, other.names),
            max(self.least, other.least),
            least_of(self.most, other.most),
        )


@dataclass(frozen=True)
class Row:
    """What one schema says of the items of an array."""

    first: tuple[Goal, ...] = ()
    rest: Goal | None = None
    """Of the items behind the first ones; None if it says nothing."""
    evaluates: bool = True
    """Whether it counts for ``unevaluatedItems``."""


@dataclass(frozen=True)
class Arrays:
    """What arrays must be."""

    rows: tuple[Row, ...] = ()
    holds: tuple[Goal, ...] = ()
    """Each must be met by an item at least."""
    distinct: bool = False
    least: int = 0
    most: int | None = None

    def met(self, other: Arrays) -> Arrays:
        """What both say."""
        return Arrays(
            tuple(dict.fromkeys(self.rows + other.rows)),
            tuple(dict.fromkeys(self.holds + other.holds)),
            self.distinct or other.distinct,
            max(self.least, other.least),
            least_of(self.most, other.most),
        )

    def item(self, place: int) -> Goal:
        """What the item at a place must be."""
        return both(*(row.first[place] if place < len(row.first) else row.rest or () for row in self.rows))


@dataclass(frozen=True)
class Values:
    """Values by what `same` makes of them."""

    by_text: tuple[tuple[str, Any], ...]

    @staticmethod
    def of(values: Iterable[Any]) -> Values:
        """Some values, each once."""
        return Values(tuple({same(value): value for value in values}.items()))

    def __hash__(self) -> int:
        return hash(tuple(text for text, _ in self.by_text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Values) and [one[0] for one in self.by_text] == [one[0] for one in other.by_text]

    def all(self) -> list[Any]:
        """The values as they were written."""
        return [value for _, value in self.by_text]


ALL = frozenset(TYPES)


@dataclass(frozen=True)
class Part:
    """Values of some types, each of which must be what is said of its type."""

    types: frozenset[str] = ALL
    values: Values | None = None
    """The only ones, if there are such."""
    excluded: Values = Values(())
    numbers: Numbers = Numbers()
    texts: Texts = Texts()
    objects: Objects = Objects()
    arrays: Arrays = Arrays()
    spare: bool = False
    """Whether it is one way of several to break a schema: where no answer can be held to it, others are left."""

    def breaking(self) -> Part:
        """The same as a way to break a schema, of which nothing counts as evaluated."""
        members = tuple(replace(one, evaluates=False) for one in self.objects.members)
        rows = tuple(replace(one, evaluates=False) for one in self.arrays.rows)
        objects, arrays = replace(self.objects, members=members), replace(self.arrays, rows=rows)
        return replace(self, objects=objects, arrays=arrays, spare=True)

    def met(self, other: Part) -> Part | None:
        """What both say; None if they have no type or no value in common."""
        types = self.types & other.types
        values = self.values
        if other.values is not None:
            theirs = dict(other.values.by_text)
            values = (
                other.values if values is None else Values(tuple(one for one in values.by_text if one[0] in theirs))
            )
        excluded = Values(tuple(dict(self.excluded.by_text + other.excluded.by_text).items()))
        if values is not None:
            gone = dict(excluded.by_text)
            values = Values(tuple(one for one in values.by_text if one[0] not in gone and type_of(one[1]) in types))
            if not values.by_text:
                return None
            types &= {type_of(value) for value in values.all()}
        if not types:
            return None
        return replace(
            self,
            types=types,
            values=values,
            excluded=excluded,
            numbers=self.numbers.met(other.numbers),
            texts=self.texts.met(other.texts),
            objects=self.objects.met(other.objects),
            arrays=self.arrays.met(other.arrays),
            spare=self.spare or other.spare,
        )


ANY = Part()


def least_of(one: int | None, other: int | None) -> int | None:
    """The lesser of two bounds, of which each may be missing."""
    return other if one is None else one if other is None else min(one, other)
