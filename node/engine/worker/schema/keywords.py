"""The keywords of JSON Schema, how values are compared, and how a schema is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from node.engine.protocol import EngineError

TYPES = ("string", "number", "boolean", "null", "array", "object")
"""The types of JSON; a whole number is a number."""
KNOWN = frozenset({*TYPES, "integer"})
"""The types that a schema can name."""
FIRST_DRAFT = {
    "const": 6,
    "contains": 6,
    "propertyNames": 6,
    "exclusiveMinimum": 6,
    "exclusiveMaximum": 6,
    "if": 7,
    "dependentRequired": 2019,
    "dependentSchemas": 2019,
    "unevaluatedProperties": 2019,
    "unevaluatedItems": 2019,
    "prefixItems": 2020,
}
"""The draft of JSON Schema that a keyword came with, where it is not as old as draft 4."""
LAST_DRAFT = {"dependencies": 7, "additionalItems": 2019, "listed items": 2019}
"""The draft after which a keyword says nothing any more."""
UNHELD = frozenset({"$dynamicRef", "$recursiveRef", "maxContains", "minContains", "extends", "disallow"})
"""Keywords that values are checked against and that no answer is held to."""


@dataclass(frozen=True)
class Limits:
    """How large a schema may be.

    Args:
        parts: Different parts of which a value is described, references followed.
        depth: How deep they may stand in one another.
        ways: Alternatives of one part, those of all its unions multiplied.
        properties: Properties that one object declares.
        counted: Properties of an object times how many of them are counted.
        values: Values of all `enum` together.
        value_chars: Characters of one of them.
        items: Least and greatest number of items, properties or characters that can be asked for.
        distinct: Values that may all be different: the grammar has a rule for each set of them.
        forms: Kinds of names that the patterns of one object tell apart.
        number_states: States of all automata of numbers: each is a rule of the grammar.
    """

    parts: int = 3_000
    depth: int = 48
    ways: int = 512
    properties: int = 400
    counted: int = 4_000
    values: int = 4_000
    value_chars: int = 4_096
    items: int = 100_000
    distinct: int = 8
    forms: int = 16
    number_states: int = 6_000


LIMITS = Limits()


def bounds(asked: dict[str, Any], least: str, most: str, limits: Limits) -> tuple[int, int | None]:
    """How often, or how long: the values of two keywords.

    Raises:
        EngineError: With code ``bad_request`` if they are no such numbers.
    """
    low, high = asked.get(least, 0), asked.get(most)
    for value in (low, 0 if high is None else high):
        if not whole(value) or value < 0:
            raise bad(f"{least} and {most} are whole numbers from 0.")
    if low > limits.items:
        raise bad(f"{least} is a whole number up to {limits.items}.")
    # What is as large as that is no bound: an answer has less room.
    return int(low), None if high is None or high > limits.items else int(high)


def whole(value: Any) -> bool:
    """Whether JSON Schema takes a value for a whole number, as it does 1.0."""
    return type(value) is int or (type(value) is float and value.is_integer())


def decimal(value: Any, key: str) -> Decimal:
    """A number of a schema, as it was written.

    Raises:
        EngineError: With code ``bad_request`` if it is no number.
    """
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))
    raise bad(f"{key} needs a number.")


def type_of(value: Any) -> str:
    """The type of a value, by its name."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def same(value: Any) -> str:
    """A text that values have in common if they are equal to JSON Schema, as 1 and 1.0 are."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(one) for name, one in value.items()}
    return value


def shown(text: str, most: int = 40) -> str:
    """A name of a schema as it may stand in the line of an error."""
    return "".join(char for char in text[:most] if char.isascii() and char.isprintable())


def placed(error: EngineError, place: str) -> EngineError:
    """The same refusal with the place that it speaks of, if it names none yet.

    Args:
        error: The refusal of a part of a schema.
        place: Where the part stands, as a JSON pointer behind ``#``.
    """
    if error.code != "bad_request" or "(at #" in error.message or place == "#":
        return error
    return bad(f"{error.message} (at {place})")


def bad(message: str) -> EngineError:
    """The refusal of a schema in one line."""
    return EngineError(message, code="bad_request", fix="Change the schema.")
