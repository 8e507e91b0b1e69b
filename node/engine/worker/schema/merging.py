"""Several schemas that all hold, as one."""

from __future__ import annotations

import json
from typing import Any

from node.engine.worker.schema.keywords import NOTES, bad, decimal
from node.engine.worker.schema.leaves import several

_GREATER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LESSER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_MEMBERS = frozenset({"properties", "required", "additionalProperties"})


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema that allows what both allow.

    Raises:
        EngineError: With code ``bad_request`` if there is no telling.
    """
    one, other = ({key: value for key, value in part.items() if key not in NOTES} for part in (one, other))
    if any("prefixItems" in part and "items" in rest for part, rest in ((one, other), (other, one)) if part != rest):
        # Items are those behind the prefix beside it, and all where there is none.
        raise bad("Several schemas for one array can't be kept to where one has prefixItems and another items.")
    made = {key: value for part in (one, other) for key, value in part.items() if key not in _MEMBERS}
    for key in (one.keys() & other.keys()) - _MEMBERS:
        made[key] = _both(key, one[key], other[key])
    return made | _members(one, other)


def _both(key: str, one: Any, other: Any) -> Any:
    if key in _GREATER:
        return max(one, other, key=lambda value: decimal(value, key))
    if key in _LESSER:
        return min(one, other, key=lambda value: decimal(value, key))
    if key == "type":
        return _types(one, other)
    if key in ("pattern", "format", "multipleOf"):
        return tuple(dict.fromkeys((*several({key: one}, key), *several({key: other}, key))))
    if key == "enum" and isinstance(one, list) and isinstance(other, list):
        known = {_same(value) for value in other}
        return [value for value in one if _same(value) in known]
    if key == "items":
        return {"allOf": [one, other]}
    if key == "uniqueItems":
        return one is True or other is True
    if _same(one) == _same(other):
        return one
    raise bad(f"Several schemas for one value can't be kept to where each has {key}.")


def _types(one: Any, other: Any) -> list[str]:
    ours, theirs = (list(part) if isinstance(part, list) else [part] for part in (one, other))
    kept = [name for name in ours if name in theirs or (name == "integer" and "number" in theirs)]
    kept += [name for name in theirs if name == "integer" and "number" in ours and name not in kept]
    if not kept:
        raise bad("Several schemas for one value leave it no type.")
    return kept


def _members(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The keywords of objects, of which `additionalProperties` speaks of the properties beside it only."""
    if not _MEMBERS & (one.keys() | other.keys()):
        return {}
    properties: dict[str, Any] = {}
    required: list[Any] = []
    for part, rest in ((one, other), (other, one)):
        named, theirs = part.get("properties", {}), rest.get("properties", {})
        if (
            not isinstance(named, dict)
            or not isinstance(theirs, dict)
            or ("patternProperties" in rest and _MEMBERS & part.keys())
        ):
            raise bad("Several schemas for one object can be kept to by their properties only.")
        more = rest.get("additionalProperties", True)
        for name, schema in named.items():
            if name in properties:
                properties[name] = {"allOf": [properties[name], schema]}
            elif name in theirs or more is True or more == {}:
                properties[name] = schema
            elif more is False:
                properties[name] = False
            else:
                properties[name] = {"allOf": [schema, more]}
        asked = part.get("required", [])
        required += asked if isinstance(asked, list) else [asked]
    more = [part["additionalProperties"] for part in (one, other) if "additionalProperties" in part]
    made: dict[str, Any] = {"properties": properties} if properties or "properties" in (one | other) else {}
    if required:
        made["required"] = required
    if more:
        made["additionalProperties"] = more[0] if len(more) == 1 else False if False in more else {"allOf": more}
    return made


def _same(value: Any) -> str:
    """Values that are the same text here are equal to JSON Schema."""
    return json.dumps(value, sort_keys=True)
