"""What a grammar lets through validates against its schema, and no schema harms the process that asks for one."""

from __future__ import annotations

import asyncio
import ctypes
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.formats import Formats
from node.engine.protocol import EngineError
from node.engine.worker.grammar import Made, made
from node.engine.worker.native import llama, quiet_log
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.schema.reducer import reduced
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import JsonObject, JsonSchema

NAMES = st.sampled_from(["a", "b c", 'q"', "back\\slash", "é😀", "string", "char", "space", "root", "shared0", "a-kv"])


@pytest.fixture(scope="module")
def vocabulary(tiny_model: Path) -> Iterator[Vocabulary]:
    quiet_log()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(str(tiny_model).encode(), params)
    yield Vocabulary(model)
    llama.llama_model_free(model)


def whole(piece: bytes) -> bool:
    return "\ufffd" not in piece.decode(errors="replace")


class OurWorker:
    """An answer held by llguidance, as in this node's own worker."""

    def __init__(self, vocabulary: Vocabulary, grammars: Made) -> None:
        self._matcher = vocabulary.table.matcher(grammars.lark)

    def allowed(self) -> list[int]:
        return self._matcher.allowed().tolist()

    def take(self, token: int) -> None:
        self._matcher.take(token)

    def close(self) -> None:
        pass


class LlamaServer:
    """An answer held by llama.cpp, as in a server that is given a grammar."""

    def __init__(self, vocabulary: Vocabulary, grammars: Made) -> None:
        self._native = llama.llama_sampler_init_grammar(vocabulary.native, grammars.gbnf.encode(), b"root")
        self._data = (llama.llama_token_data * vocabulary.size)()
        self._view = np.frombuffer(self._data, dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        self._view["id"] = range(vocabulary.size)
        self._silent = vocabulary.silent_tokens()

    def allowed(self) -> list[int]:
        self._view["logit"] = 0.0
        array = llama.llama_token_data_array(self._data, self._view.size, -1, False)
        llama.llama_sampler_apply(self._native, ctypes.byref(array))
        self._view["logit"][self._silent] = -math.inf
        return np.flatnonzero(self._view["logit"] == 0.0).tolist()

    def take(self, token: int) -> None:
        llama.llama_sampler_accept(self._native, token)

    def close(self) -> None:
        llama.llama_sampler_free(self._native)


Holder = type[OurWorker] | type[LlamaServer]
HOLDERS = (OurWorker, LlamaServer)


def written(
    holder: Holder, vocabulary: Vocabulary, grammars: Made, dice: random.Random, *, limit: int = 3_000
) -> str | None:
    """Text of tokens drawn at random among those that the grammar allows; None if it doesn't end in time."""
    held, raw = holder(vocabulary, grammars), b""
    try:
        for _ in range(limit):
            allowed = held.allowed()
            if any(vocabulary.piece(token) is None for token in allowed):
                return raw.decode()
            # llama.cpp takes bytes for characters that are none; an answer shows them as U+FFFD.
            token = dice.choice([one for one in allowed if whole(vocabulary.piece(one) or b"")] or allowed)
            raw += vocabulary.piece(token) or b""
            held.take(token)
    finally:
        held.close()
    return None


def admits(holder: Holder, vocabulary: Vocabulary, grammars: Made, text: str) -> bool:
    """Whether a text is taken as a whole, byte by byte."""
    tokens = {vocabulary.piece(token): token for token in range(vocabulary.size)}
    held = holder(vocabulary, grammars)
    try:
        for byte in text.encode():
            token = tokens[bytes([byte])]
            if token not in held.allowed():
                return False
            held.take(token)
        return any(vocabulary.piece(token) is None for token in held.allowed())
    finally:
        held.close()


def composed(parts: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    """Schemas whose parts exclude, condition or bring along others."""
    pairs = st.tuples(parts, parts)
    one_of = pairs.map(
        lambda made: {
            "type": "object",
            "properties": {"a": made[0], "b": made[1]},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}, {"not": {"anyOf": [{"required": [n]} for n in "ab"]}}],
        }
    )
    conditions = parts.map(
        lambda made: {
            "type": "object",
            "properties": {"k": {"enum": ["x", "y"]}, "v": made},
            "required": ["k"],
            "if": {"properties": {"k": {"const": "x"}}},
            "then": {"required": ["v"]},
            "else": {"properties": {"v": False}},
        }
    )
    dependencies = pairs.map(
        lambda made: {
            "type": "object",
            "properties": {"a": made[0]},
            "dependentRequired": {"a": ["b"]},
            "dependentSchemas": {"c": {"properties": {"d": made[1]}, "required": ["d"]}},
        }
    )
    formed = pairs.map(
        lambda made: {
            "type": "object",
            "properties": {"ab": made[0]},
            "patternProperties": {"^a": {"type": ["object", "array", "string", "null"]}, "c$": made[1]},
            "additionalProperties": {"type": "boolean"},
            "required": ["ac" if made[1].get("type") == "null" else "x"],
        }
    ).filter(lambda made: made["properties"]["ab"].get("type") in ("object", "array", "string", "null"))
    excluded = st.sampled_from(
        [
            {"type": ["string", "integer"], "not": {"enum": ["a", "é", 3, 0]}},
            {"type": "string", "not": {"pattern": r"\w|^$"}},
            {"not": {"type": ["object", "array"]}, "oneOf": [{"type": "integer"}, {"minimum": 5}]},
            {"type": "array", "contains": {"type": "integer"}, "items": {"type": ["integer", "null"]}},
            {"type": "object", "not": {"properties": {"a": {"type": "integer"}}, "minProperties": 0}},
            {"type": "array", "not": {"items": {"type": ["string", "null"]}}},
        ]
    )
    return st.one_of(one_of, conditions, dependencies, formed, excluded)


def schemas() -> st.SearchStrategy[dict[str, object]]:
    values = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
    lengths = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted)
    leaves = st.one_of(
        st.sampled_from(["boolean", "null", "integer", "number"]).map(lambda name: {"type": name}),
        lengths.map(lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[1]}),
        st.sampled_from(sorted(PATTERNS)).map(lambda name: {"type": "string", "format": name}),
        st.sampled_from([r"^[A-Z]{2}-\d+$", "^h", r"[^\s\"\\]", "é|b$"]).map(
            lambda one: {"type": "string", "pattern": one}
        ),
        st.tuples(st.integers(-99, 99), st.integers(1, 300), st.sampled_from(["integer", "number"])).map(
            lambda made: {"type": made[2], "minimum": made[0] - 0.5, "exclusiveMaximum": made[0] + made[1]}
        ),
        st.just({"type": "integer", "multipleOf": 5, "format": "int32"}),
        values.map(lambda value: {"const": value}),
        st.lists(values, min_size=1, max_size=3).map(lambda some: {"enum": some}),
        st.just({"type": ["integer", "null"], "title": "a note"}),
    )

    def grown(parts: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
        arrays = st.tuples(parts, lengths).map(
            lambda made: {"type": "array", "items": made[0], "minItems": made[1][0], "maxItems": made[1][1]}
        )
        tuples = st.lists(parts, min_size=1, max_size=3).map(lambda made: {"type": "array", "prefixItems": made})
        objects = st.tuples(st.dictionaries(NAMES, parts, max_size=4), st.booleans()).map(
            lambda made: {"type": "object", "properties": made[0], "required": list(made[0])[: 9 if made[1] else 1]}
        )
        unions = st.lists(leaves, min_size=1, max_size=3).map(lambda made: {"anyOf": made})
        counted = st.tuples(st.dictionaries(NAMES, parts, min_size=2, max_size=4), st.integers(0, 2)).map(
            lambda made: (
                {"properties": made[0], "required": list(made[0])[:1]}
                | {"type": "object", "minProperties": made[1], "maxProperties": max(made[1], 1)}
            )
        )
        tables = st.tuples(parts, st.sampled_from([{"pattern": "^x-"}, {"maxLength": 2}, {"enum": ["a", 'b"']}])).map(
            lambda made: (
                {"type": "object", "additionalProperties": made[0], "propertyNames": made[1]}
                | {"minProperties": 1, "maxProperties": 3}
            )
        )
        formed = parts.map(lambda made: {"patternProperties": {"^a[bc]{1,3}$": made}, "additionalProperties": False})
        closed = st.booleans().map(lambda more: {"additionalProperties": False} if more else {})
        merges = st.tuples(st.dictionaries(NAMES, parts, max_size=2), parts, closed).map(
            lambda made: {
                "type": "object",
                "allOf": [{"properties": made[0]} | made[2], {"required": list(made[0])}],
                "properties": dict.fromkeys(made[0], True) | {"more": made[1]},
            }
        )
        either = st.tuples(parts, parts).map(
            lambda made: {
                "type": "object",
                "properties": {"a": made[0], "b": made[1]},
                "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
            }
        )
        tags = st.lists(parts, min_size=2, max_size=3).map(
            lambda made: {
                "type": "object",
                "oneOf": [{"properties": {"tag": {"const": tag}, "value": one}} for tag, one in enumerate(made)],
            }
        )
        others = [objects, arrays, tuples, unions, counted, tables, formed, merges, either, tags]
        return st.one_of(*others, composed(parts))

    return st.recursive(leaves, grown, max_leaves=6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schemas(), st.integers(0, 2**32))
def test_what_the_grammar_of_a_schema_allows_validates(vocabulary, schema, seed):
    grammars = made(json.dumps(schema))
    for holder in HOLDERS:
        text = written(holder, vocabulary, grammars, random.Random(seed))
        assert text is not None
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schemas(), st.integers(0, 2**32))
def test_both_grammars_of_a_schema_take_the_same_texts(vocabulary, schema, seed):
    grammars = made(json.dumps(schema))
    for one, other in (HOLDERS, HOLDERS[::-1]):
        text = written(one, vocabulary, grammars, random.Random(seed))
        assert text is not None
        assert admits(other, vocabulary, grammars, text)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    ("schema", "taken", "refused"),
    [
        (
            {"type": "integer", "minimum": -3, "exclusiveMaximum": 12.0},
            ["-3", "0", "11"],
            ["-4", "12", "1.0", "-0", "07"],
        ),
        ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "0.5", "1", "1.000"], ["-0.1", "1.001", "5e-1", "1."]),
        ({"type": "number", "multipleOf": 0.25}, ["0.75", "12", "-3.5"], ["0.125", "0.3"]),
        ({"type": "number", "minimum": 5}, ["5", "7.5"], ["4.9", '"x"']),
        ({"minimum": 5}, ["5", "7.5", '"x"', "[]"], ["4.9"]),
        ({"type": "string", "pattern": r'^"\\[\n\t/é]$'}, [r'"\"\\\n"', '"\\"\\\\/"', '"\\"\\\\é"'], ['"a"']),
        (
            {"type": "string", "pattern": "a+b", "maxLength": 4},
            ['"aab"', '"ab"', '"xabx"'],
            ['"aaaab"', '"a"', '"xxxab"'],
        ),
        ({"enum": ["a\x7fb", {"\x7f": 1}]}, [r'"a\u007fb"', r'{"\u007f": 1}'], ['"ab"', '{"": 1}']),
        ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"']),
        (
            {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "minProperties": 1},
            ['{"a": null}', '{"a":null,"b":null}', '{"b": null }'],
            ["{}", '{"b":null,"a":null}', '{"a":null,}'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "maxProperties": 1},
            ['{"a": null}', "{}", '{"b": null }'],
            ['{"a":null,"b":null}'],
        ),
        (
            {"type": "array", "items": {"type": "null"}, "maxItems": 2},
            ["[]", "[ null ]", "[null, null]"],
            ["[null,null,null]"],
        ),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, ["[null,null,null]"], ["[]", "[null]"]),
        (
            {"type": "array", "items": {"enum": ["x", 1, True]}, "uniqueItems": True, "minItems": 1, "maxItems": 2},
            ['["x"]', '[1,"x"]', "[true, 1]"],
            ["[]", '["x","x"]', '["x",1,true]'],
        ),
        (
            {"type": "object", "patternProperties": {"^n[0-9]$": {"type": "null"}}, "additionalProperties": False},
            ["{}", '{"n1": null, "n2": null}'],
            ['{"n": null}', '{"n1": 1}'],
        ),
        (
            {"allOf": [{"minimum": 1, "type": "integer"}, {"maximum": 3, "type": "number"}], "exclusiveMaximum": 3},
            ["1", "2"],
            ["0", "3", "1.5"],
        ),
        (
            {"$ref": "#/$defs/a", "required": ["x"], "$defs": {"a": {"properties": {"x": {"enum": [1]}}}}},
            ['{"x":1}'],
            ["{}", '{"x":2}'],
        ),
        ({"oneOf": [{"type": "null"}, {"const": 3}, {"type": "string"}]}, ["null", "3", '"x"'], ["4"]),
        (
            {"oneOf": [{"properties": {k: {"type": "null"}}, "required": [k], "type": "object"} for k in "ab"]},
            ['{"a":null}', '{"b":null}'],
            ['{"a":null,"b":null}', "{}"],
        ),
        (
            {
                "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
                "discriminator": {"propertyName": "kind"},
                "$defs": {
                    name: {
                        "type": "object",
                        "properties": {"kind": {"const": name, "default": name}, "next": {"$ref": "#"}},
                    }
                    for name in ("cat", "dog")
                },
            },
            ['{"kind":"cat"}', '{"kind":"dog","next":{"kind":"cat"}}'],
            ["{}", '{"next":{"kind":"cat"}}'],
        ),
        (
            {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {"a": {"const": 1}},
                        "required": ["a"],
                        "additionalProperties": False,
                    },
                    {"allOf": [{"$ref": "#/$defs/b"}], "required": ["b"]},
                    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1}]},
                    {"enum": ["x", False]},
                    {"type": "array", "items": {"type": "null"}},
                ],
                "$defs": {"b": {"type": "object", "properties": {"b": {"type": "null"}}}},
            },
            ['{"a":1}', '{"b":null}', "null", "7", '"x"', "false", "[null]"],
            ["0", "true", '"y"', "{}"],
        ),
        (
            {
                "allOf": [
                    {"type": ["string", "null"], "minLength": 1},
                    {"type": "string", "minLength": 2, "pattern": "^a", "format": "email"},
                    {"type": "string", "maxLength": 9, "pattern": "o$"},
                ]
            },
            ['"a@b.co"', '"ab@cd.eo"'],
            ['"b@b.co"', '"a@b.cd"', '"abcdef@b.co"'],
        ),
        (
            {
                "allOf": [
                    {"items": {"enum": [1, 2, 3]}, "uniqueItems": True},
                    {"type": "array", "items": {"enum": [2, 3, 4]}, "uniqueItems": True, "maxItems": 2},
                ]
            },
            ["[2,3]", "[3]"],
            ["[1]", "[2,2]"],
        ),
        (
            {
                "type": "object",
                "allOf": [
                    {"properties": {"a": {"minimum": 1}}, "additionalProperties": {"type": "integer"}},
                    {"properties": {"a": {"maximum": 2}, "b": {"minimum": 5}}, "required": ["a"]},
                ],
            },
            ['{"a":1}', '{"a":2,"b":5}'],
            ['{"a":3}', '{"a":1,"b":5.5}', '{"b":5}'],
        ),
        ({"enum": ["a", "b"], "const": "b"}, ['"b"'], ['"a"']),
        (
            {"type": "object", "properties": {"x": True}, "unevaluatedProperties": False, "required": ["x"]},
            ['{"x":{}}'],
            ["{}"],
        ),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value)[:50],
)
def test_what_the_schema_allows_is_taken_and_what_it_does_not_is_refused(holder, vocabulary, schema, taken, refused):
    grammars = made(json.dumps(schema))
    for text in taken:
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
    assert [text for text in taken if not admits(holder, vocabulary, grammars, text)] == []
    assert [text for text in refused if admits(holder, vocabulary, grammars, text)] == []


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_schema_may_refer_to_itself(holder, vocabulary):
    schema = {
        "$ref": "#/$defs/my_node",
        "$defs": {
            "my_node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next_one": {"anyOf": [{"$ref": "#/$defs/my_node"}, {"type": "null"}]},
                },
                "required": ["value"],
            }
        },
    }
    for seed in range(8):
        text = written(holder, vocabulary, made(json.dumps(schema)), random.Random(seed))
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ("{", "no JSON"),
        ("[" * 60_000, "no JSON"),
        ("3", "no object"),
        ("false", "allows nothing"),
        ('{"type": "quux"}', "no type"),
        ('{"enum": [1e999]}', "no JSON"),
        ('{"enum": [NaN]}', "no JSON"),
        ('{"type": "string", "pattern": "^(?=a)"}', "lookaround"),
        ('{"type": "string", "pattern": 3}', "as text"),
        ('{"type": "string", "pattern": "^a$", "minLength": 2}', "Nothing fits this pattern"),
        ('{"type": "integer", "minimum": 3, "maximum": 2}', "Nothing fits minimum"),
        ('{"type": "integer", "minimum": 3, "exclusiveMinimum": "3"}', "exclusiveMinimum needs a number"),
        ('{"type": "integer", "minimum": "3"}', "minimum needs a number"),
        ('{"type": "number", "multipleOf": 1000}', "up to 100"),
        ('{"type": "number", "allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}', "one multipleOf"),
        ('{"type": "object", "patternProperties": {"(?=a)": {}}}', "lookaround"),
        (json.dumps({"patternProperties": {f"{chr(97 + n)}": {} for n in range(5)}}), "too many kinds apart"),
        ('{"type": "object", "propertyNames": {"anyOf": [{"maxLength": 3}, {"pattern": "a"}]}}', "propertyNames"),
        (
            '{"type": "object", "properties": {"a": {}}, "required": ["b"], "additionalProperties": false}',
            "required",
        ),
        (
            '{"type": "object", "properties": {"a": {}}, "minProperties": 2, "additionalProperties": false}',
            "so many properties",
        ),
        ('{"type": "object", "properties": {"a": {}}, "required": ["a"], "maxProperties": 0}', "so few"),
        ('{"type": "object", "minProperties": 2}', "name one property twice"),
        ('{"type": "array", "items": {"type": "string"}, "uniqueItems": true}', "uniqueItems"),
        ('{"type": "array", "items": false, "minItems": 1}', "so many items"),
        ('{"type": "array", "uniqueItems": 1}', "true or false"),
        ('{"type": "array", "items": {"enum": [[]]}, "uniqueItems": true}', "different texts"),
        ('{"type": "array", "items": {"enum": [1, 1.0]}, "uniqueItems": true, "minItems": 2}', "allows nothing"),
        ('{"type": "array", "prefixItems": [{}, {}], "uniqueItems": true}', "have one enum"),
        ('{"type": "object", "required": [3]}', "is a list"),
        ('{"type": "object", "additionalProperties": false, "minProperties": 1}', "so many"),
        ('{"allOf": [{"enum": [1], "minimum": 2}]}', "No value of an enum"),
        ('{"allOf": [{"enum": [1]}, {"enum": [2]}]}', "leave no type or value"),
        ('{"oneOf": [{"type": "object"}, {"type": "object", "additionalProperties": {}}]}', "same value"),
        ('{"allOf": [{"type": "string"}, {"type": "null"}]}', "leave no type"),
        (
            json.dumps({"allOf": [{"anyOf": [{"minimum": m * n} for m in range(24)]} for n in (1, 24)]}),
            "512 alternatives",
        ),
        ('{"allOf": [{"$ref": "#"}, {"type": "string"}]}', "deep"),
        (
            json.dumps(
                {
                    "allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"required": ["b"]}],
                    "type": "object",
                }
            ),
            "which is required",
        ),
        ('{"type": "string", "minLength": 1000000}', "minLength"),
        ('{"type": "string", "maxLength": -1}', "maxLength"),
        ('{"type": "array", "items": {}, "minItems": 3, "maxItems": 2}', "so many items"),
        ('{"type": "array", "prefixItems": [{}], "items": [{}]}', "prefixItems"),
        ('{"type": "string", "format": "uuid", "minLength": 99}', "Nothing fits this pattern or format and length"),
        ('{"allOf": []}', "allOf"),
        (json.dumps({"prefixItems": [{"type": "number", "minimum": n + 1e-9} for n in range(400)]}), "large"),
        ('{"anyOf": []}', "anyOf"),
        ('{"enum": []}', "enum"),
        ('{"enum": [1], "type": "string"}', "leave no type or value"),
        ('{"oneOf": [{"enum": [1], "type": [{}, "integer"]}, {"enum": [1], "type": "integer"}]}', "no type"),
        ('{"oneOf": [{"enum": [1]}, {"enum": [1], "type": "integer"}]}', "same value"),
        ('{"oneOf": [{"type": "integer"}, {"type": "number"}]}', "same value"),
        ('{"$ref": "https://example.org/schema"}', "its own parts"),
        ('{"$ref": "#/$defs/none"}', "doesn't have"),
        ('{"not": {}}', "allows nothing"),
        ('{"not": {"format": "date"}}', "'not'"),
        ('{"$dynamicRef": "#a"}', "'\\$dynamicRef'"),
        ('{"contains": {}, "maxContains": 1}', "'maxContains'"),
        ('{"properties": {"a/b": {"type": "quux"}}}', "at #/properties/a~1b"),
        (json.dumps({"enum": list(range(6_000))}), "4000 values"),
        (json.dumps({"prefixItems": [{"const": n} for n in range(3_900)]}), "parts"),
        ('{"items":' * 60 + "{}" + "}" * 60, "deep"),
        (json.dumps({"properties": {str(n): {} for n in range(500)}}), "400 properties"),
        ('{"title": "' + "x" * 70_000 + '"}', "characters"),
    ],
    ids=lambda value: value[:40],
)
def test_what_a_grammar_can_not_hold_is_refused_by_name(schema, line):
    with pytest.raises(EngineError, match=line) as error:
        reduced(schema)
    assert error.value.code == "bad_request"


async def test_a_format_becomes_a_grammar_in_a_process_of_its_own_and_once(monkeypatch):
    formats = Formats()
    assert await formats.grammar(None) == ""
    assert "start : object" in await formats.grammar(JsonObject())
    assert "root ::= object" in await formats.grammar(JsonObject(), "gbnf")
    schema = JsonSchema('{"type": "boolean"}')
    first = await formats.grammar(schema)
    started = []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", lambda *words, **_more: started.append(words))
    assert await formats.grammar(schema) == first
    assert started == []


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}',
        "half \ud83d",
    ],
)
async def test_a_schema_that_makes_no_grammar_is_a_bad_request(schema):
    with pytest.raises(EngineError) as error:
        await Formats().grammar(JsonSchema(schema))
    assert error.value.code == "bad_request"


async def test_a_schema_that_takes_too_long_is_ended():
    with pytest.raises(EngineError, match="too much time"):
        await Formats(max_seconds=0.0).grammar(JsonObject())


async def test_what_was_asked_for_long_ago_is_made_again(monkeypatch):
    formats, made = Formats(kept=1), []
    start = asyncio.create_subprocess_exec
    monkeypatch.setattr(
        asyncio, "create_subprocess_exec", lambda *words, **more: made.append(1) or start(*words, **more)
    )
    for kind in ("null", "null", "boolean", "null"):
        assert f"start : {kind}" in await formats.grammar(JsonSchema(json.dumps({"type": kind})))
    assert len(made) == 3
