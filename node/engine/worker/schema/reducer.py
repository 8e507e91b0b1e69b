"""Walks a schema and makes shapes of its parts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from node.engine.worker.schema.containers import Containers
from node.engine.worker.schema.exclusive import Rejection, tagged
from node.engine.worker.schema.keywords import NOTES, OWN, TYPES, bad, is_type, only
from node.engine.worker.schema.leaves import number, string
from node.engine.worker.schema.merging import merged
from node.engine.worker.schema.shapes import Distinct, Items, Plain, Shape, Shared, Spelled, Tuple, Union, Values
from node.values.inference import MAX_SCHEMA_CHARS

MAX_DEPTH = 32
MAX_NODES = 1_000
MAX_VALUES = 500
MAX_VALUE_CHARS = 4_096
MAX_STATES = 6_000
"""States of all automata of a schema: each is a rule of its grammar."""

_ANY = Plain("object")
"""What says nothing of a value asks for an object, as a format without a schema does."""


@dataclass(frozen=True)
class Reduced:
    """A schema as a shape, and the shapes that it refers to by name."""

    root: Shape
    shared: dict[str, Shape]


def reduced(text: str) -> Reduced:
    """The schema in a form that a grammar can be written from.

    Raises:
        EngineError: With code ``bad_request`` if it is no schema, asks for what a grammar can't hold, or is too large.
    """
    if len(text) > MAX_SCHEMA_CHARS:
        raise bad(f"A JSON schema may have {MAX_SCHEMA_CHARS} characters.")
    try:
        schema = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise bad("The JSON schema is no JSON.") from error
    reducer = _Reducer(schema)
    root = reducer.node(schema, 0)
    reducer.check_unions()
    return Reduced(root, reducer.shared)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


class _Reducer:
    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self._nodes = 0
        self._values = 0
        self._states = 0
        self._unions: list[Union] = []
        self._exclusive: list[tuple[list[Shape], list[Any]]] = []
        self._containers = Containers(self.node)
        self.shared: dict[str, Shape] = {}

    def node(self, schema: Any, depth: int) -> Shape:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise bad(f"A JSON schema may have {MAX_NODES} parts, {MAX_DEPTH} deep.")
        if schema is True:
            return _ANY
        if not isinstance(schema, dict):
            raise bad("A part of the JSON schema is no object, or allows nothing.")
        asked = {key: value for key, value in schema.items() if key not in NOTES}
        if not asked:
            return _ANY
        if asked.keys() == {"$ref"}:
            return self._reference(asked["$ref"], depth)
        if "$ref" in asked or "allOf" in asked:
            parts = self._flat(asked, depth)
            if len(parts) == 1:
                return self.node(parts[0], depth + 1)
            whole: dict[str, Any] = {}
            for part in parts:
                whole = merged(whole, part)
            return self.node(whole, depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in asked:
                return self._any_of(asked, key, depth)
        return self._constant(asked) if "const" in asked or "enum" in asked else self._typed(asked, depth)

    def _reference(self, ref: Any, depth: int) -> Shape:
        target = self._target(ref)
        if ref not in self.shared:
            self.shared[ref] = Shared(ref)
            self.shared[ref] = self.node(target, depth + 1)
        return Shared(ref)

    def _target(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise bad("A JSON schema may refer to its own parts only ($ref).")
        target = self._whole
        for step in ref.split("/")[1:]:
            target = _child(target, unquote(step).replace("~1", "/").replace("~0", "~"))
        return target

    def _flat(self, asked: dict[str, Any], depth: int) -> list[dict[str, Any]]:
        """All schemas that a value must meet at once, by what they say themselves; one that refers alone is kept."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise bad(f"A JSON schema may have {MAX_NODES} parts, {MAX_DEPTH} deep.")
        parts = asked.get("allOf", [])
        if not isinstance(parts, list) or ("allOf" in asked and not parts):
            raise bad("allOf needs a list of schemas.")
        rest = {key: value for key, value in asked.items() if key not in ("allOf", "$ref")}
        own: list[Any] = [rest] if rest else []
        own += [one for one in parts if one is not True and one != {}]
        own += [{"$ref": asked["$ref"]}] if "$ref" in asked else []
        if len(own) == 1:
            return own
        flat: list[dict[str, Any]] = []
        for part in own:
            one = self._target(part["$ref"]) if isinstance(part, dict) and part.keys() == {"$ref"} else part
            if one is True:
                continue
            if not isinstance(one, dict):
                raise bad("A part of the JSON schema is no object, or allows nothing.")
            said = {key: value for key, value in one.items() if key not in NOTES}
            if part is not rest and "unevaluatedProperties" in said:
                raise bad("unevaluatedProperties can be kept to beside allOf and not in it.")
            flat += self._flat(said, depth + 1) if "allOf" in said or "$ref" in said else [said]
        return flat or [{}]

    def _any_of(self, asked: dict[str, Any], key: str, depth: int) -> Shape:
        given = parts = asked[key]
        if not isinstance(parts, list) or not parts:
            raise bad(f"{key} needs a list of schemas.")
        rest = {name: value for name, value in asked.items() if name != key}
        if key == "oneOf" and len(parts) > 1:
            parts = tagged(parts, self._target)
        kept = [self.node(self._with(rest, part), depth + 1) for part in parts]
        if len(kept) == 1:
            return kept[0]
        if key == "oneOf":
            self._exclusive.append((kept, given))
        self._unions.append(Union(tuple(kept)))
        return self._unions[-1]

    def _with(self, rest: dict[str, Any], part: Any) -> Any:
        """An alternative together with what stands beside all of them."""
        if not rest or part is False:
            return part
        if rest.keys() == {"type"} and isinstance(part, dict):
            # A type that is said twice is no reason to write out what a part refers to.
            target = self._target(part["$ref"]) if part.keys() == {"$ref"} else part
            if isinstance(target, dict) and target.get("type") == rest["type"]:
                return part
        return {"allOf": [rest, part]}

    def check_unions(self) -> None:
        """Refuse what only shows once all parts are known.

        A union with several kinds of array: each opening bracket would double what a grammar keeps in mind. And
        alternatives of which one value may fit several where it must fit one.
        """
        for union in self._unions:
            if self._arrays(union, frozenset()) > 1:
                raise bad("anyOf may offer one kind of array: give its items an anyOf instead.")
        rejection = Rejection(self.shared, self._target)
        for kept, schemas in self._exclusive:
            for place, shape in enumerate(kept):
                if not all(rejection.sure(shape, schema) for other, schema in enumerate(schemas) if other != place):
                    raise bad(
                        "oneOf's alternatives may fit the same value: "
                        "require a property with a const of its own in each, or write anyOf."
                    )

    def _arrays(self, shape: Shape, seen: frozenset[str]) -> int:
        """How many kinds of array a value of a shape may be."""
        match shape:
            case Union(parts):
                return sum(self._arrays(one, seen) for one in parts)
            case Shared(name):
                return 0 if name in seen else self._arrays(self.shared[name], seen | {name})
            case Plain("array") | Items() | Distinct() | Tuple():
                return 1
        return 0

    def _constant(self, asked: dict[str, Any]) -> Shape:
        only(asked, {"const", "enum", "type"})
        values = asked.get("enum", [asked.get("const")])
        if not isinstance(values, list) or not values:
            raise bad("enum needs a list of values.")
        if "const" in asked:
            values = [value for value in values if json.dumps(value) == json.dumps(asked["const"])]
        types = asked.get("type", list(TYPES))
        types = types if isinstance(types, list) else [types]
        values = [value for value in values if any(is_type(value, one) for one in types)]
        self._values += len(values)
        if not values:
            raise bad("No value of an enum has the type beside it.")
        if self._values > MAX_VALUES or any(len(json.dumps(value)) > MAX_VALUE_CHARS for value in values):
            raise bad(f"A JSON schema may name {MAX_VALUES} values of {MAX_VALUE_CHARS} characters.")
        return Values(tuple(values))

    def _typed(self, asked: dict[str, Any], depth: int) -> Shape:
        given = asked.get("type")
        if given is None:
            implied = [name for name in TYPES if OWN.get(name, frozenset()) & asked.keys() - {"format"}]
            # Bounds speak of numbers, whole ones among them; a format alone speaks of text.
            given = [name for name in implied if name != "integer"] or (["string"] if "format" in asked else None)
            given = given[0] if given and len(given) == 1 else None
        if given is None:
            only(asked, {"type"})
        types = given if isinstance(given, list) else [given]
        if not types or not all(isinstance(one, str) and one in TYPES for one in types):
            raise bad("A part of the JSON schema has no type that JSON has.")
        own: set[str] = set().union(*(OWN.get(str(one), frozenset()) for one in types))
        only(asked, own | {"type"})
        kept = [self._one(str(one), asked, depth) for one in dict.fromkeys(types)]
        return Union(tuple(kept)) if len(kept) > 1 else kept[0]

    def _one(self, kind: str, asked: dict[str, Any], depth: int) -> Shape:
        shape: Shape
        if kind == "string":
            shape = string(asked)
        elif kind in ("number", "integer"):
            shape = number(asked, whole=kind == "integer")
        elif kind == "array":
            return self._containers.array(asked, depth)
        elif kind == "object":
            return self._containers.object(asked, depth)
        else:
            return Plain("boolean" if kind == "boolean" else "null")
        if isinstance(shape, Spelled):
            self._states += len(shape.found.steps)
            if self._states > MAX_STATES:
                raise bad("A grammar gets too large with all patterns, formats and bounds of this schema.")
        return shape


def _child(target: Any, step: str) -> Any:
    if isinstance(target, dict) and step in target:
        return target[step]
    if isinstance(target, list) and step.isdigit() and int(step) < len(target):
        return target[int(step)]
    raise bad("The JSON schema refers to a part that it doesn't have ($ref).")
