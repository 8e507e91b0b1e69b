"""Strings and numbers of a part as shapes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

from node.engine.worker.regular.automaton import NO_TEXTS, Automaton
from node.engine.worker.regular.expression import Search, shortest, texts
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.regular.ranges import Bound, Range, numbers
from node.engine.worker.schema.keywords import bad, decimal
from node.engine.worker.schema.parts import End, Numbers, Texts
from node.engine.worker.schema.shapes import Plain, Shape, Spelled, Text

_MOST_EXCLUDED = 8
"""Numbers that may be left out: each is a gap between two ranges."""


def string(asked: Texts, excluded: tuple[str, ...]) -> Shape | None:
    """The strings that a part allows; None if there are none.

    Args:
        asked: What they must be.
        excluded: Strings that are left out.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    if not (asked.patterns or asked.formats or asked.without or excluded):
        if asked.most is not None and asked.most < asked.least:
            return None
        return Text(asked.least, asked.most) if asked.least or asked.most is not None else Plain("string")
    sought = (*(PATTERNS[name] for name in asked.formats), *asked.patterns)
    search = Search(
        tuple(parsed(one) for one in sought),
        asked.least,
        asked.most,
        tuple(parsed(one, widely=True) for one in asked.without),
        excluded,
    )
    return Spelled(search=search) if has_texts(search) else None


@lru_cache(1_024)
def has_texts(search: Search) -> bool:
    """Whether there is a text of a kind.

    Raises:
        EngineError: With code ``bad_request`` if there is no telling.
    """
    if search.most is not None and search.most < search.least:
        return False
    if not search.expressions and not search.without:
        return search.most != 0 or "" not in search.excluded
    what = "this pattern or format"
    free = replace(search, least=0, most=None)
    length = shortest(free, what)
    if length is None or (search.most is not None and length > search.most):
        return False
    if length >= search.least:
        return True
    # Without its length, an automaton stays small.
    found = texts(search.expressions, 0, None, what, without=search.without, excluded=search.excluded)
    return _has_length(found, search.least, search.most)


def _has_length(found: Automaton, least: int, most: int | None) -> bool:
    """Whether an automaton takes a text of so many characters."""
    states, seen = frozenset({0}), 0
    last = least + len(found.steps) if most is None else min(most, least + len(found.steps))
    while states and seen <= last:
        if seen >= least and states & found.ends:
            return True
        states = frozenset(to for state in states for _, to in found.steps[state])
        seen += 1
    return False


def number(asked: Numbers, excluded: tuple[float, ...]) -> list[Shape]:
    """The numbers that a part allows, range by range; none if there are none.

    Args:
        asked: What they must be.
        excluded: Numbers that are left out.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    steps = set(asked.steps)
    if len(steps) > 1:
        raise bad("Only one multipleOf can be kept to.")
    if not asked.lows and not asked.highs and not steps and not excluded:
        return [Plain("integer" if asked.whole else "number")]
    if len(excluded) > _MOST_EXCLUDED:
        raise bad(f"Up to {_MOST_EXCLUDED} numbers can be left out (not).")
    step = next(iter(steps), None)
    gaps = sorted({decimal(one, "enum") for one in excluded})
    made: list[Shape] = []
    for before, after in zip((None, *gaps), (*gaps, None), strict=True):
        low = _narrower(asked.low, before, least=True)
        high = _narrower(asked.high, after, least=False)
        found = _numbers(Range(_bound(low), _bound(high), step, asked.whole))
        if found is not NO_TEXTS:
            made.append(Spelled(found))
    return made


def _narrower(end: End | None, gap: Decimal | None, *, least: bool) -> End | None:
    if gap is None:
        return end
    ends = (End(gap, excluded=True), *([end] if end else []))
    asked = Numbers(lows=ends) if least else Numbers(highs=ends)
    return asked.low if least else asked.high


def _bound(end: End | None) -> Bound | None:
    return None if end is None else Bound(end.value, end.excluded)


@lru_cache(256)
def _numbers(asked: Range) -> Automaton:
    return numbers(asked, "minimum, maximum and multipleOf together", may_be_empty=True)
