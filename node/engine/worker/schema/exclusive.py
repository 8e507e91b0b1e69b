"""Whether the alternatives of ``oneOf`` leave each other alone, so that a value of one is a value of no other.

A grammar can offer alternatives but can't forbid that a second one fits too, so it has to be seen beforehand. The
question is put to the shape that answers have, which is narrower than its schema: it has declared properties alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from node.engine.worker.schema.keywords import kinds
from node.engine.worker.schema.shapes import (
    Distinct,
    Items,
    Plain,
    Record,
    Shape,
    Shared,
    Spelled,
    Table,
    Text,
    Tuple,
    Union,
    Values,
)

_DEPTH = 8


class Rejection:
    """Says which schemas surely take no value of a shape.

    Args:
        shared: The shapes that others refer to.
        target: Finds the schema that a reference is to.
    """

    def __init__(self, shared: Mapping[str, Shape], target: Callable[[Any], Any]) -> None:
        self._shared = shared
        self._target = target

    def sure(self, shape: Shape, schema: Any, depth: int = 0) -> bool:
        """Whether a schema takes no value of a shape; False if there is no telling."""
        if schema is False:
            return True
        if not isinstance(schema, dict) or depth > _DEPTH:
            return False
        match shape:
            case Union(parts):
                return all(self.sure(part, schema, depth + 1) for part in parts)
            case Shared(name):
                return self.sure(self._shared[name], schema, depth + 1)
        if "$ref" in schema:
            # Older drafts look at nothing beside it.
            return self.sure(shape, self._target(schema["$ref"]), depth + 1)
        if any(self.sure(shape, part, depth + 1) for part in _listed(schema, "allOf")):
            return True
        for key in ("anyOf", "oneOf"):
            if key in schema and all(self.sure(shape, part, depth + 1) for part in _listed(schema, key)):
                return True
        return self._by_type(shape, schema) or self._by_value(shape, schema) or self._by_members(shape, schema, depth)

    @staticmethod
    def _by_type(shape: Shape, schema: dict[str, Any]) -> bool:
        if "type" not in schema:
            return False
        types = [one for one in _listed(schema, "type") or [schema["type"]] if isinstance(one, str)]
        ours = _types(shape)
        # A number may be whole, as every whole one is a number.
        return not ours & ({*types, "number"} if "integer" in types else set(types))

    @staticmethod
    def _by_value(shape: Shape, schema: dict[str, Any]) -> bool:
        if "const" not in schema and "enum" not in schema:
            return False
        values = _values(schema)
        if isinstance(shape, Values):
            return not any(_equal(one, other) for one in shape.values for other in values)
        return not _types(shape) & _types(Values(tuple(values)))

    def _by_members(self, shape: Shape, schema: dict[str, Any], depth: int) -> bool:
        if not isinstance(shape, Record):
            return False
        ours = {one.name: one for one in shape.properties}
        theirs = schema.get("properties", {})
        if not isinstance(theirs, dict):
            return False
        if any(name not in ours for name in _listed(schema, "required")):
            return True
        closed = schema.get("additionalProperties", True) is False and "patternProperties" not in schema
        for name, one in ours.items():
            if not one.required:
                continue
            if self.sure(one.value, theirs[name], depth + 1) if name in theirs else closed:
                return True
        return False


def tagged(parts: list[Any], target: Callable[[Any], Any]) -> list[Any]:
    """Schemas of objects that differ in the value of one property, each made to require it.

    Generators of schemas leave a tag optional that has a default; without it an object would fit all alternatives.

    Args:
        parts: The alternatives.
        target: Finds the schema that a reference is to.
    """
    objects = [target(part["$ref"]) if isinstance(part, dict) and "$ref" in part else part for part in parts]
    properties = [one.get("properties") if isinstance(one, dict) else None for one in objects]
    for name in properties[0] if isinstance(properties[0], dict) else ():
        tags = [_values(some[name]) for some in properties if isinstance(some, dict) and name in some]
        flat = [(place, value) for place, values in enumerate(tags) for value in values]
        if len(tags) < len(parts) or not all(tags):
            continue
        if not any(_equal(one, other) for place, one in flat for past, other in flat if past < place):
            return [
                part if name in _listed(one, "required") else {"allOf": [part, {"required": [name]}]}
                for part, one in zip(parts, objects, strict=True)
            ]
    return parts


def _values(schema: Any) -> list[Any]:
    """The values that a schema names, as far as it is seen at once."""
    if not isinstance(schema, dict):
        return []
    return [schema["const"]] if "const" in schema else _listed(schema, "enum")


def _types(shape: Shape) -> set[str]:
    """The types of a shape's values; whole numbers count as numbers only."""
    match shape:
        case Plain(name):
            return {"number" if name == "integer" else name}
        case Text():
            return {"string"}
        case Spelled():
            return {"string" if shape.quoted else "number"}
        case Values(values):
            return {kind for value in values for kind in kinds(value)} - {"integer"}
        case Items() | Tuple() | Distinct():
            return {"array"}
        case Record() | Table():
            return {"object"}
    raise TypeError(shape)


def _listed(schema: dict[str, Any], key: str) -> list[Any]:
    found = schema.get(key, [])
    return found if isinstance(found, list) else []


def _equal(one: Any, other: Any) -> bool:
    """Whether values may be equal to JSON Schema; arrays and objects that hold numbers always may."""
    if isinstance(one, list | dict):
        return type(one) is type(other)
    return bool(one == other)
