"""A stranger's JSON schema, reduced to what a grammar can hold the model to, and refused where it asks for more.

A keyword that would be silently ignored is worse than a refusal: the buyer would pay for an answer that its own
validator rejects. So only known keywords pass, what is left is rewritten into the few shapes that llama-cpp-python's
converter gets right, and every size is bounded. An answer in the grammar validates against the schema; the reverse
need not hold: an object has no properties but the declared ones, and a tuple is complete.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from node.engine.protocol import MAX_SCHEMA_CHARS, EngineError

MAX_DEPTH = 32
MAX_NODES = 1_000
MAX_PROPERTIES = 200
MAX_REPEATS = 200
MAX_VALUES = 500
MAX_VALUE_CHARS = 4_096

_NOTES = frozenset(
    {
        *("title", "description", "default", "examples", "example", "discriminator"),
        *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions"),
        *("deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"),
    }
)
_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_OWN = {
    "string": frozenset({"minLength", "maxLength", "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_FORMATS = frozenset({"date", "time", "date-time", "uuid"})


def reduced(text: str) -> dict[str, Any]:
    """The schema in a form that a grammar can be made of.

    Raises:
        EngineError: With code ``bad_request`` if it is no schema, asks for what a grammar can't hold, or is too large.
    """
    if len(text) > MAX_SCHEMA_CHARS:
        raise _bad(f"A JSON schema may have {MAX_SCHEMA_CHARS} characters.")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("The JSON schema is no JSON.") from error
    reducer = _Reducer(schema, text)
    root = reducer.node(schema, 0)
    reducer.check_unions()
    if reducer.found:
        root = {**root, "$defs": reducer.found}
    return root


class _Reducer:
    def __init__(self, whole: Any, text: str) -> None:
        self._whole = whole
        self._nodes = 0
        self._values = 0
        self._names: dict[str, str] = {}
        self._unions: list[list[dict[str, Any]]] = []
        self.found: dict[str, Any] = {}
        self._prefix = "shared"
        while self._prefix in text:
            # A property must not be able to take the name of a rule that others refer to.
            self._prefix += "x"

    def node(self, schema: Any, depth: int) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _bad(f"A JSON schema may have {MAX_NODES} parts, {MAX_DEPTH} deep.")
        if schema is True or schema == {}:
            return {"type": "object"}
        if not isinstance(schema, dict):
            raise _bad("A part of the JSON schema is no object, or allows nothing.")
        asked = {key: value for key, value in schema.items() if key not in _NOTES}
        if not asked:
            return {"type": "object"}
        for key, take in (
            ("$ref", self._reference),
            ("allOf", self._all_of),
            ("anyOf", self._any_of),
            ("oneOf", self._any_of),
            ("const", self._constant),
            ("enum", self._constant),
        ):
            if key in asked:
                return take(asked, key, depth)
        return self._typed(asked, depth)

    def _reference(self, asked: dict[str, Any], key: str, depth: int) -> dict[str, Any]:
        _only(asked, {key})
        ref = asked[key]
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise _bad("A JSON schema may refer to its own parts only ($ref).")
        if ref not in self._names:
            self._names[ref] = name = f"{self._prefix}{len(self._names)}"
            target = self._whole
            for step in ref.split("/")[1:]:
                target = _child(target, unquote(step).replace("~1", "/").replace("~0", "~"))
            self.found[name] = {}
            self.found[name] = self.node(target, depth + 1)
        return {"$ref": f"#/$defs/{self._names[ref]}"}

    def _all_of(self, asked: dict[str, Any], key: str, depth: int) -> dict[str, Any]:
        _only(asked, {key})
        parts = asked[key]
        if not isinstance(parts, list) or len(parts) != 1:
            raise _bad("allOf with more than one part can't be kept to.")
        return self.node(parts[0], depth + 1)

    def _any_of(self, asked: dict[str, Any], key: str, depth: int) -> dict[str, Any]:
        _only(asked, {key, "type"})
        parts = asked[key]
        if not isinstance(parts, list) or not parts:
            raise _bad(f"{key} needs a list of schemas.")
        kept = [self.node(part, depth + 1) for part in parts]
        self._unions.append(kept)
        return {"anyOf": kept} if len(kept) > 1 else kept[0]

    def check_unions(self) -> None:
        """Refuse unions with several kinds of array: each opening bracket would double what a grammar keeps in mind."""
        for union in self._unions:
            if sum(self._arrays(part, frozenset()) for part in union) > 1:
                raise _bad("anyOf may offer one kind of array: give its items an anyOf instead.")

    def _arrays(self, part: dict[str, Any], seen: frozenset[str]) -> int:
        """How many kinds of array a value of this schema may be."""
        if "anyOf" in part:
            return sum(self._arrays(one, seen) for one in part["anyOf"])
        if "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[-1]
            return 0 if name in seen else self._arrays(self.found[name], seen | {name})
        return int(part.get("type") == "array")

    def _constant(self, asked: dict[str, Any], key: str, _depth: int) -> dict[str, Any]:
        _only(asked, {key, "type"})
        values = [asked["const"]] if key == "const" else asked["enum"]
        if not isinstance(values, list) or not values:
            raise _bad("enum needs a list of values.")
        types = asked.get("type", list(_TYPES))
        types = types if isinstance(types, list) else [types]
        values = [value for value in values if any(_is(value, one) for one in types)]
        self._values += len(values)
        if not values:
            raise _bad("No value of an enum has the type beside it.")
        if self._values > MAX_VALUES or any(len(json.dumps(value)) > MAX_VALUE_CHARS for value in values):
            raise _bad(f"A JSON schema may name {MAX_VALUES} values of {MAX_VALUE_CHARS} characters.")
        return {"enum": values}

    def _typed(self, asked: dict[str, Any], depth: int) -> dict[str, Any]:
        given = asked.get("type")
        if given is None:
            implied = [name for name, own in _OWN.items() if own & asked.keys()]
            given = implied[0] if len(implied) == 1 else None
        if given is None:
            _only(asked, {"type"})
        types = given if isinstance(given, list) else [given]
        if not types or not all(isinstance(one, str) and one in _TYPES for one in types):
            raise _bad("A part of the JSON schema has no type that JSON has.")
        own: set[str] = set().union(*(_OWN.get(str(one), frozenset()) for one in types))
        _only(asked, own | {"type"})
        kept = [self._one(str(one), asked, depth) for one in dict.fromkeys(types)]
        return {"anyOf": kept} if len(kept) > 1 else kept[0]

    def _one(self, kind: str, asked: dict[str, Any], depth: int) -> dict[str, Any]:
        if kind == "string":
            return _string(asked)
        if kind == "array":
            return self._array(asked, depth)
        if kind == "object":
            return self._object(asked, depth)
        return {"type": kind}

    def _array(self, asked: dict[str, Any], depth: int) -> dict[str, Any]:
        low, high = _bounds(asked, "minItems", "maxItems")
        if "prefixItems" in asked:
            items = asked["prefixItems"]
            if not isinstance(items, list) or not items or asked.get("items", False) is not False:
                raise _bad("prefixItems needs a list of schemas, and no items beside it.")
            if not low <= len(items) <= (len(items) if high is None else high):
                raise _bad("prefixItems can't be kept to with these minItems and maxItems.")
            return {"type": "array", "items": [self.node(item, depth + 1) for item in items]}
        if "items" not in asked and not low and high is None:
            return {"type": "array"}
        if high == 0:
            return {"enum": [[]]}
        kept: dict[str, Any] = {"type": "array", "items": self.node(asked.get("items", True), depth + 1)}
        if low:
            kept["minItems"] = low
        if high is not None:
            kept["maxItems"] = high
        return kept

    def _object(self, asked: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = asked.get("properties", {}), asked.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise _bad("An object's properties are an object, and what is required is a list.")
        if len(properties) > MAX_PROPERTIES or not all(
            isinstance(name, str) and name in properties for name in required
        ):
            raise _bad(f"An object has {MAX_PROPERTIES} properties, among them all that are required.")
        if not properties:
            more = asked.get("additionalProperties", True)
            if more is False or more is True:
                return {"type": "object"} if more else {"type": "object", "additionalProperties": False}
            return {"type": "object", "additionalProperties": self.node(more, depth + 1)}
        return {
            "type": "object",
            "properties": {name: self.node(part, depth + 1) for name, part in properties.items()},
            "required": required,
            "additionalProperties": False,
        }


def _string(asked: dict[str, Any]) -> dict[str, Any]:
    low, high = _bounds(asked, "minLength", "maxLength")
    shape = asked.get("format")
    if shape in _FORMATS:
        if low or high is not None:
            raise _bad("A format of text can't be kept to together with a length.")
        return {"type": "string", "format": shape}
    if not low and high is None:
        return {"type": "string"}
    return {"type": "string", "minLength": low} | ({} if high is None else {"maxLength": high})


def _bounds(asked: dict[str, Any], least: str, most: str) -> tuple[int, int | None]:
    low, high = asked.get(least, 0), asked.get(most)
    for value in (low, 0 if high is None else high):
        if type(value) is not int or not 0 <= value <= MAX_REPEATS:
            raise _bad(f"{least} and {most} are whole numbers up to {MAX_REPEATS}.")
    if high is not None and high < low:
        raise _bad(f"{most} is less than {least}.")
    return low, high


def _child(target: Any, step: str) -> Any:
    if isinstance(target, dict) and step in target:
        return target[step]
    if isinstance(target, list) and step.isdigit() and int(step) < len(target):
        return target[int(step)]
    raise _bad("The JSON schema refers to a part that it doesn't have ($ref).")


def _is(value: Any, kind: Any) -> bool:
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


def _only(asked: dict[str, Any], known: set[str]) -> None:
    for key in asked:
        if key not in known:
            shown = "".join(char for char in key[:40] if char.isascii() and char.isprintable())
            raise _bad(f"The format of an answer can't be held to a JSON schema's {shown!r} here.")


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request", fix="Change the schema.")
