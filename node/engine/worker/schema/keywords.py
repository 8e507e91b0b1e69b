"""The keywords of JSON Schema that are kept to, and how others are refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from node.engine.protocol import EngineError

MAX_REPEATS = 200

NOTES = frozenset(
    {
        *("title", "description", "default", "examples", "example", "discriminator"),
        *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions"),
        *("deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"),
    }
)
"""Keywords that no value is checked against."""
TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
OWN = {
    "string": frozenset({"minLength", "maxLength", "format", "pattern"}),
    "number": frozenset({*BOUNDS, "format"}),
    "integer": frozenset({*BOUNDS, "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset(
        {"properties", "required", "additionalProperties", "unevaluatedProperties", "patternProperties"}
        | {"propertyNames", "minProperties", "maxProperties"}
    ),
}
"""By type, the keywords that its values are checked against."""


def only(asked: dict[str, Any], known: set[str]) -> None:
    """See that a part of a schema has known keywords alone.

    Raises:
        EngineError: With code ``bad_request``, naming the first that is not.
    """
    for key in asked:
        if key not in known:
            shown = "".join(char for char in key[:40] if char.isascii() and char.isprintable())
            raise bad(f"The format of an answer can't be held to a JSON schema's {shown!r} here.")


def bounds(asked: dict[str, Any], least: str, most: str) -> tuple[int, int | None]:
    """How often, or how long: the values of two keywords.

    Raises:
        EngineError: With code ``bad_request`` if they are no such numbers.
    """
    low, high = asked.get(least, 0), asked.get(most)
    for value in (low, 0 if high is None else high):
        if not whole(value) or not 0 <= value <= MAX_REPEATS:
            raise bad(f"{least} and {most} are whole numbers up to {MAX_REPEATS}.")
    if high is not None and high < low:
        raise bad(f"{most} is less than {least}.")
    return int(low), None if high is None else int(high)


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


def is_type(value: Any, kind: Any) -> bool:
    """Whether a value is of a type by its name."""
    return (
        {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "null": value is None,
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
            "array": isinstance(value, list),
            "object": isinstance(value, dict),
        }.get(kind, False)
        if isinstance(kind, str)
        else False
    )


def kinds(value: Any) -> set[str]:
    """All types that a value is of."""
    return {name for name in TYPES if is_type(value, name)}


def bad(message: str) -> EngineError:
    """The refusal of a schema in one line."""
    return EngineError(message, code="bad_request", fix="Change the schema.")
