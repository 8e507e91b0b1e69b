"""Strings and numbers of a schema as shapes."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.expression import Search, texts
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.regular.ranges import Bound, Range, numbers
from node.engine.worker.schema.keywords import bad, bounds, decimal
from node.engine.worker.schema.shapes import Plain, Shape, Spelled, Text

_BITS = {f"{sign}{bits}": (sign, bits) for sign in ("int", "uint") for bits in (8, 16, 32, 64)}
_FLOATS = ("float", "double")
"""OpenAPI's and others' formats of numbers: each says in how many bits a number has its place."""


def string(asked: dict[str, Any]) -> Shape:
    """The strings that a part of a schema allows.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    least, most = bounds(asked, "minLength", "maxLength")
    shapes, patterns = several(asked, "format"), several(asked, "pattern")
    for name in shapes:
        if not isinstance(name, str) or name not in PATTERNS:
            raise bad(f"The formats of text that an answer can be held to are {', '.join(PATTERNS)}.")
    if not all(isinstance(one, str) for one in patterns):
        raise bad("A pattern is a regular expression as text.")
    sought = (*(PATTERNS[name] for name in shapes), *patterns)
    if not sought:
        return Text(least, most) if least or most is not None else Plain("string")
    named = "this pattern" if patterns else f"the format {shapes[0]}"
    search = Search(tuple(parsed(one) for one in sought), least, most)
    return Spelled(_texts(search, f"{named} and length" if least or most is not None else named), search)


def number(asked: dict[str, Any], *, whole: bool) -> Shape:
    """The numbers that a part of a schema allows, all or whole ones.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    lows = [(decimal(asked[key], key), key) for key in ("exclusiveMinimum", "minimum") if key in asked]
    highs = [(decimal(asked[key], key), key) for key in ("exclusiveMaximum", "maximum") if key in asked]
    for name in several(asked, "format"):
        if isinstance(name, str) and whole and name in _BITS:
            sign, bits = _BITS[name]
            half = 2 ** (bits - 1)
            lows.append((Decimal(-half if sign == "int" else 0), "minimum"))
            highs.append((Decimal(half - 1 if sign == "int" else 2 * half - 1), "maximum"))
        elif whole or name not in _FLOATS:
            raise bad("The formats of numbers that an answer can be held to are int8 to uint64, float and double.")
    steps = [decimal(one, "multipleOf") for one in several(asked, "multipleOf")]
    if not lows and not highs and not steps:
        return Plain("integer" if whole else "number")
    # The narrower one counts, and of two at the same place the one that leaves the place itself out.
    low = max(lows, key=lambda one: (one[0], one[1] == "exclusiveMinimum"), default=None)
    high = min(highs, key=lambda one: (one[0], one[1] == "maximum"), default=None)
    if len(set(steps)) > 1:
        raise bad("Only one multipleOf can be kept to.")
    asked_range = Range(
        None if low is None else Bound(low[0], low[1] == "exclusiveMinimum"),
        None if high is None else Bound(high[0], high[1] == "exclusiveMaximum"),
        steps[0] if steps else None,
        whole,
    )
    return Spelled(_numbers(asked_range))


def several(asked: dict[str, Any], key: str) -> tuple[Any, ...]:
    """The values of a keyword: a tuple, which JSON has none of, stands for those of several merged schemas."""
    found = asked.get(key, ())
    return found if isinstance(found, tuple) else (found,)


@lru_cache
def _texts(search: Search, what: str) -> Automaton:
    return texts(search.expressions, search.least, search.most, what)


@lru_cache
def _numbers(asked: Range) -> Automaton:
    return numbers(asked, "minimum, maximum and multipleOf together")
