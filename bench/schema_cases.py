"""JSON schemas to measure by: as many random ones as wanted, each by its number, and some that mean harm."""

from __future__ import annotations

import json
import random
from typing import Any

Schema = dict[str, Any]

NAMES = ("a", "b c", 'q"', "back\\slash", "é😀", "id", "name", "x-1", "kind")
FORMATS = ("date", "time", "date-time", "duration", "uuid", "hostname", "email", "ipv4", "ipv6", "uri")
PATTERNS = (
    *(r"^[A-Z]{2}-\d+$", "^h", r"[^\s\"\\]", "é|b$", r"^\w+@\w+$", "^(a|b)*c$"),
    *(r"\.pdf$", "^.{2,4}$", "^[a-z]+(-[a-z]+)*$"),
)
DEEPEST = 3


def random_schema(seed: int) -> Schema:
    """The schema of a number: any keyword that people use, also where they can't all be kept to."""
    return _schema(random.Random(seed), 0)


def _schema(dice: random.Random, depth: int) -> Schema:
    if depth >= DEEPEST or dice.random() < 0.3:
        return _leaf(dice)
    kind = dice.randrange(13)
    if kind <= 3:
        return _object(dice, depth)
    if kind <= 5:
        return _array(dice, depth)
    if kind == 6:
        return {dice.choice(["anyOf", "oneOf"]): [_schema(dice, depth + 1) for _ in range(dice.randint(1, 3))]}
    if kind == 7:
        return _table(dice, depth)
    if kind == 8:
        names = dice.choice(["^a[bc]{1,3}$", "^x-"])
        return {"type": "object", "patternProperties": {names: _schema(dice, depth + 1)}, "additionalProperties": False}
    if kind == 9:
        properties = _properties(dice, depth)
        parts = [{"properties": properties}, {"required": list(properties)[:2]}]
        return {"type": "object", "allOf": parts, "properties": {"more": _schema(dice, depth + 1)}}
    if kind == 10:
        parts = [
            {"properties": {"tag": {"const": tag}, "value": _schema(dice, depth + 1)}, "required": ["tag"]}
            for tag in range(dice.randint(2, 3))
        ]
        return {"type": "object", "oneOf": parts}
    if kind == 11:
        values = [_value(dice) for _ in range(dice.randint(2, 4))]
        return {"type": "array", "items": {"enum": values}, "uniqueItems": True}
    return {"allOf": [_schema(dice, depth + 1), _leaf(dice)]}


def _properties(dice: random.Random, depth: int, least: int = 1) -> Schema:
    return {name: _schema(dice, depth + 1) for name in dice.sample(NAMES, dice.randint(least, 4))}


def _object(dice: random.Random, depth: int) -> Schema:
    properties = _properties(dice, depth)
    made: Schema = {"type": "object", "properties": properties}
    if dice.random() < 0.25:
        return made | {dice.choice(["minProperties", "maxProperties"]): dice.randint(1, 3)}
    made["required"] = [name for name in properties if dice.random() < 0.6]
    return made | ({"additionalProperties": False} if dice.random() < 0.5 else {})


def _array(dice: random.Random, depth: int) -> Schema:
    if dice.random() < 0.5:
        parts = [_schema(dice, depth + 1) for _ in range(dice.randint(1, 3))]
        return {"type": "array", "prefixItems": parts} | ({"items": False} if dice.random() < 0.5 else {})
    return {"type": "array", "items": _schema(dice, depth + 1)} | _sizes(dice, "minItems", "maxItems", 2, 3)


def _table(dice: random.Random, depth: int) -> Schema:
    made = {"type": "object", "additionalProperties": _schema(dice, depth + 1)}
    if dice.random() < 0.4:
        made["propertyNames"] = dice.choice([{"pattern": "^x-"}, {"maxLength": 2}, {"enum": ["a", "b"]}])
    return made | _sizes(dice, "minProperties", "maxProperties", 2, 3)


def _sizes(dice: random.Random, least: str, most: str, low: int, more: int) -> Schema:
    made: Schema = {}
    if dice.random() < 0.6:
        made[least] = dice.randint(0, low)
    if dice.random() < 0.6:
        made[most] = made.get(least, 0) + dice.randint(0, more)
    return made


def _leaf(dice: random.Random) -> Schema:
    kind = dice.randrange(11)
    if kind <= 1:
        return {"type": dice.choice(["boolean", "null", "integer", "number", "string"]), "description": "x"}
    if kind == 2:
        return {"type": "string"} | _sizes(dice, "minLength", "maxLength", 3, 4)
    if kind == 3:
        return {"type": "string", "format": dice.choice(FORMATS)} | (
            {"maxLength": dice.randint(8, 40)} if dice.random() < 0.5 else {}
        )
    if kind <= 5:
        return {"type": "string", "pattern": dice.choice(PATTERNS)} | (
            {"minLength": dice.randint(0, 5)} if dice.random() < 0.5 else {}
        )
    if kind <= 7:
        return _number(dice)
    if kind == 8:
        return {"const": _value(dice)}
    if kind == 9:
        return {"enum": [_value(dice) for _ in range(dice.randint(1, 4))]}
    return {"type": ["integer", "null"], "title": "a note"}


def _number(dice: random.Random) -> Schema:
    made: Schema = {"type": dice.choice(["integer", "number"])}
    low = dice.choice([dice.randint(-99, 99), round(dice.uniform(-9, 9), 2), 0, 0.5])
    if dice.random() < 0.7:
        made[dice.choice(["minimum", "exclusiveMinimum"])] = low
    if dice.random() < 0.7:
        made[dice.choice(["maximum", "exclusiveMaximum"])] = round(low + dice.choice([1, 0.5, 3, 100, 1e6]), 2)
    if dice.random() < 0.25:
        made["multipleOf"] = dice.choice([2, 3, 5, 10, 0.5, 0.25, 0.1, 0.01])
    return made


def _value(dice: random.Random) -> Any:
    text = dice.choice(["", "a", "xy", 'q"', "é"])
    return dice.choice([None, True, False, dice.randint(-9, 9), text, 0.5, -2.25, 1e3, [1, "a"], {"k": 1}])


def hostile_schemas() -> dict[str, str]:
    """By name, schemas whose reader, grammar or next token may cost far more than they look."""
    kinds = [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}, f"z{n}": {"type": "null"}}, "required": ["a"]}
        for n in range(16)
    ]
    nested: Schema = {"type": "string"}
    for _ in range(14):
        nested = {"type": "object", "properties": {"a": nested, "b": {"type": "string"}}, "required": ["a"]}
    many = {"enum": [f"value {n} of many" for n in range(500)]}
    soup = {
        f"d{n}": {"type": "object", "properties": {f"x{k}": {"$ref": f"#/$defs/d{(7 * n + k) % 40}"} for k in range(4)}}
        for n in range(40)
    }
    named: dict[str, Schema] = {
        "kinds that differ at their ends": {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": kinds}}},
        "deep": nested,
        "500 values, 200 times": {"type": "array", "items": many, "maxItems": 200},
        "100,000 values": {"enum": list(range(100_000))},
        "60,000 characters of values": {"enum": [f"{'x' * 4_000}{n}" for n in range(15)]},
        "minLength 1e9": {"type": "string", "minLength": 1_000_000_000},
        "maxItems 1e9": {"type": "array", "items": {"type": "string"}, "minItems": 1_000_000_000},
        "bounds of 300 digits": {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
        "strings of 200": {"type": "array", "items": {"type": "string", "minLength": 200, "maxLength": 200}},
        "(a+)+": {"type": "string", "pattern": "^(a+)+b(a|aa)+$"},
        "a?{99}a{99}": {"type": "string", "pattern": "^(a?){99}a{99}$"},
        "(.a){9}": {"type": "string", "pattern": "(a|b)*a(a|b){9}"},
        "1.{30}": {"type": "string", "pattern": "[01]*1[01]{30}$"},
        "((a{100}){100}){100}": {"type": "string", "pattern": "((a{100}){100}){100}"},
        "three patterns at once": {
            "allOf": [{"type": "string", "pattern": f"{one}.{two}"} for one, two in ("ab", "cd", "ef")]
        },
        "200 properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(200)}},
        "200 properties of themselves": {"type": "object", "properties": {f"p{n}": {"$ref": "#"} for n in range(200)}},
        "100 properties, counted": {
            "type": "object",
            "properties": {f"p{n}": {"type": "null"} for n in range(100)},
            "minProperties": 20,
        },
        "8 values, each once": {"type": "array", "items": {"enum": list(range(8))}, "uniqueItems": True},
        "190 lengths": {"anyOf": [{"type": "string", "minLength": n} for n in range(190)]},
        "three mail addresses": {
            "anyOf": [{"type": "string", "format": "email", "maxLength": 40 + n} for n in range(3)]
        },
        "160 references": {"$defs": soup, "$ref": "#/$defs/d0"},
        "references in a circle": {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            "$ref": "#/$defs/a",
        },
        "quarters": {
            "type": "array",
            "items": {"type": "number", "minimum": -1e15, "maximum": 1e15, "multipleOf": 0.25},
        },
    }
    return {name: json.dumps(schema) for name, schema in named.items()} | {
        "5,000 brackets": '{"items":' * 5_000 + "{}" + "}" * 5_000
    }
