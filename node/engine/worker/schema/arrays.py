"""Arrays of a part as shapes."""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any, Protocol

from node.engine.worker.schema.keywords import Limits, bad
from node.engine.worker.schema.parts import Arrays, Goal, both, least_of
from node.engine.worker.schema.shapes import Distinct, Plain, Sequence, Shape, Values


class Shapes(Protocol):
    """Makes shapes of what stands inside."""

    limits: Limits
    why: str

    def shape(self, goal: Goal) -> Shape | None:
        """The values that meet a goal; None if there are none."""
        ...


def array(asked: Arrays, excluded: Listed[Any], shapes: Shapes) -> Shape | None:
    """The arrays that a part allows; None if there are none.

    Args:
        asked: What they must be.
        excluded: Arrays that are left out.
        shapes: Makes the shapes of items.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    if any(excluded):
        raise bad("Only empty arrays and objects can be left out (not).")
    least, most = max(asked.least, 1) if excluded else asked.least, asked.most
    if asked == Arrays() and not least:
        return Plain("array")
    longest = max((len(row.first) for row in asked.rows), default=0)
    first: list[Shape] = []
    for place in range(longest if most is None else min(longest, most)):
        found = shapes.shape(asked.item(place))
        if found is None:
            most = least_of(most, place)
            break
        first.append(found)
    rest = None
    if len(first) == longest and (most is None or most > longest):
        rest = shapes.shape(asked.item(longest))
    if rest is None:
        most = least_of(most, len(first))
    if most is not None and most < least:
        shapes.why = "An array can't have so many items, or so few (minItems, maxItems)."
        return None
    if asked.holds:
        return _holding(asked, least, shapes)
    if asked.distinct and most not in (0, 1):
        return _distinct(first, rest, least, most, shapes.limits)
    return Sequence(tuple(first[:most]), rest, least, most)


def _holding(asked: Arrays, least: int, shapes: Shapes) -> Shape | None:
    simple = len(asked.holds) == 1 and asked.most is None and not asked.distinct and least <= 1
    if not simple or any(row.first for row in asked.rows):
        raise bad("contains can be kept to beside items alone.")
    item = asked.item(0)
    held = shapes.shape(both(item, asked.holds[0]))
    return None if held is None else Sequence(rest=shapes.shape(item), held=held)


def _distinct(first: list[Shape], rest: Shape | None, least: int, most: int | None, limits: Limits) -> Shape | None:
    if first or not isinstance(rest, Values):
        raise bad("uniqueItems can be kept to where all items have one enum.")
    line = f"uniqueItems can be kept to among {limits.distinct} different texts or numbers."
    if any(isinstance(one, list | dict) for one in rest.values) or len(rest.values) > limits.distinct:
        raise bad(line)
    return Distinct(rest.values, least, most) if least <= len(rest.values) else None
