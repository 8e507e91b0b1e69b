"""Schemas as people write them, and answers as their validators read them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from node.engine.protocol import EngineError
from node.engine.worker.grammar import made
from node.engine.worker.tokens import TokenTable

END = 256
BYTES = TokenTable([*(bytes([byte]) for byte in range(256)), None], ())


def writable(schema: Any, value: Any) -> bool:
    """Whether an answer that is held to a schema can be a value, spelled as `json.dumps` does."""
    matcher = BYTES.matcher(made(json.dumps(schema)).lark)
    for byte in json.dumps(value, ensure_ascii=False).encode():
        if byte not in matcher.allowed():
            return False
        matcher.take(byte)
    return END in matcher.allowed()


def told_apart(schema: Any, good: list[Any], wrong: list[Any]) -> None:
    """See that values can be written or not, and that a validator says the same of them."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    assert [one for one in good if not validator.is_valid(one)] == []
    assert [one for one in wrong if validator.is_valid(one)] == []
    assert [one for one in good if not writable(schema, one)] == []
    assert [one for one in wrong if writable(schema, one)] == []


@pytest.mark.parametrize(
    "schema",
    [{}, True, {"description": "anything"}, {"not": False}, {"anyOf": [{}, {"type": "null"}]}],
    ids=str,
)
def test_a_schema_that_says_nothing_allows_any_value(schema):
    """An object was forced where `{}` or `true` allowed a text or a number."""
    told_apart(schema, [None, True, 1.5, "x", [1, "a", {}], {"a": [{}]}], [])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {}},
        {"type": "array", "items": True},
        {"type": "array"},
        {"type": "array", "prefixItems": [{}]},
    ],
    ids=str,
)
def test_items_that_are_not_described_are_any_values(schema):
    """Lists held only objects where `items: {}` was asked for."""
    told_apart(schema, [[], [1], ["a", None, {"b": []}]], [{}, "a"])


def test_a_property_that_is_required_and_not_declared_is_any_value():
    """`required: ["id"]` without a declaration forced `{"id": {}}`."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["id"]}
    told_apart(schema, [{"id": 7}, {"a": 1, "id": "x"}, {"id": None}], [{}, {"a": 1}, {"a": "x", "id": 1}])


def test_an_object_that_is_not_closed_has_other_properties_too():
    """Answers could not name a property that the schema left open."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}}
    told_apart(schema, [{}, {"a": 1, "b": True}, {"b": True, "aa": False}], [{"a": True}, {"b": 1}, {"a": 1, "b": 1}])


@pytest.mark.parametrize(
    "note",
    ["id", "$id", "x-order", "nullable", "readonly", "links", "_format", "self", "javaType", "minlength"],
)
def test_what_json_schema_has_no_keyword_for_is_a_note(note):
    """Half of the world's schemas were refused for a note to people or to another program."""
    schema = {"type": "object", "properties": {"a": {"type": "string", note: "note:one"}}, note: "note:two"}
    told_apart(schema, [{"a": "x"}], [{"a": None}, {"a": 1}])


@pytest.mark.parametrize("name", ["path", "topic", "url", "byte", "password", "unknown", "money"])
def test_a_format_that_json_schema_does_not_have_is_a_note(name):
    """`format: "password"` was refused, as if a validator knew it."""
    told_apart({"type": "string", "format": name}, ["x y"], [1])


@pytest.mark.parametrize("most", [255, 1_000, 50_000])
def test_a_text_may_be_as_long_as_the_schema_says(most):
    """`maxLength` above 200 was refused."""
    told_apart({"type": "string", "maxLength": most}, ["", "x" * min(most, 2_000)], [1])
    if most < 2_000:
        told_apart({"type": "string", "maxLength": most, "pattern": "^x"}, ["x" * most], ["x" * (most + 1), ""])


@pytest.mark.parametrize(
    ("name", "good", "wrong"),
    [
        (
            "uri",
            ["http://localhost", "http://localhost:11434/v1", "http://10.0.0.1:65535/a"],
            ["localhost", "http://a b"],
        ),
        ("hostname", ["localhost", "10.0.0.1", "a.example"], ["a..b", "-a", "a_b"]),
        ("email", ["root@localhost", "me@[10.0.0.1]", "a@b.example"], ["a", "a@"]),
    ],
)
def test_addresses_may_be_of_this_machine_and_this_network(name, good, wrong):
    """No answer could name localhost, an IP address or a port of five digits."""
    assert [one for one in good if not writable({"type": "string", "format": name}, one)] == []
    assert [one for one in wrong if writable({"type": "string", "format": name}, one)] == []


def test_what_a_schema_excludes_is_not_written():
    """`not` was refused, whatever it named."""
    told_apart({"not": {"type": ["string", "number"]}}, [None, [], {}], ["a", 1])
    told_apart({"type": "string", "not": {"enum": ["a", "b"]}}, ["c", "ab", ""], ["a", "b"])
    told_apart({"type": "string", "not": {"pattern": "^x"}}, ["yx", ""], ["x", "xy"])
    told_apart({"type": "integer", "not": {"const": 3}}, [2, 4, -3], [3])
    told_apart({"type": "object", "not": {"required": ["a", "b"]}}, [{"a": 1}, {"b": 1}, {}], [{"a": 1, "b": 1}])
    told_apart({"type": "array", "not": {"maxItems": 1}}, [[1, 2]], [[1], []])


def test_alternatives_that_share_values_leave_those_out():
    """`oneOf` was refused where a value could fit two of its schemas."""
    either = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    told_apart(either, [{"a": 1}, {"b": 2}, {"a": 1, "c": 2}], [{}, {"a": 1, "b": 2}])
    told_apart({"oneOf": [{"type": "string", "maxLength": 3}, {"const": "abc"}]}, ["ab", "abd"], ["abc", "abcd"])
    told_apart({"type": "number", "oneOf": [{"minimum": 3}, {"maximum": 5}]}, [2, 6], [4, 3, 5])


def test_conditions_and_dependencies_are_kept_to():
    """`if`, `then`, `else` and `dependencies` were refused."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "size": {"type": "integer"}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["size"]},
        "else": {"properties": {"size": False}},
    }
    told_apart(schema, [{"kind": "a", "size": 1}, {"kind": "b"}], [{"kind": "a"}, {"kind": "b", "size": 1}])
    schema = {"type": "object", "properties": {"a": True, "b": True}, "dependentRequired": {"a": ["b"]}}
    told_apart(schema, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}])


def test_names_that_fit_a_pattern_have_its_values_and_no_others():
    """`patternProperties` beside `properties` was refused."""
    schema = {
        "type": "object",
        "properties": {"x-a": {"minimum": 3}},
        "patternProperties": {"^x-": {"type": "integer"}, "d$": {"maximum": 9}},
        "additionalProperties": {"type": "string"},
    }
    good = [{"x-a": 3, "x-b": 1, "n": "s"}, {"x-d": 9}, {"nd": 9.5 - 1}, {"nd": "s"}]
    told_apart(schema, good, [{"x-a": 2}, {"x-b": "s"}, {"n": 1}, {"x-d": 10}, {"x-a": "s"}])


@pytest.mark.parametrize("fraction", ["", ".5", ".87", ".123456"])
def test_a_second_may_have_any_fraction(fraction):
    """A time had three or six digits behind the second, or none."""
    schema = {"type": "string", "format": "date-time"}
    assert writable(schema, f"2026-01-02T03:04:05{fraction}Z")
    assert not writable(schema, "2026-01-02T03:04:05.Z")


def test_references_are_read_where_they_stand():
    """A reference beside other keywords, to an anchor or into a part with an address of its own was misread."""
    schema = {
        "$id": "https://example.org/root",
        "type": "object",
        "properties": {"a": {"$ref": "#name"}, "b": {"$ref": "other#/$defs/n", "maximum": 5}},
        "$defs": {
            "x": {"$anchor": "name", "type": "string"},
            "n": {"type": "string"},
            "o": {"$id": "other", "$defs": {"n": {"type": "integer"}}},
        },
    }
    told_apart(schema, [{"a": "x", "b": 5}], [{"a": 1}, {"b": "x"}, {"b": 6}])


def test_older_drafts_mean_what_they_meant():
    """Draft 4's `exclusiveMinimum: true` and a list of `items` were refused."""
    number = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": True}
    assert [value for value in (2, 3, 4, "x") if writable(number, value)] == [4, "x"]
    both: dict[str, Any] = {"items": {"type": "integer"}, "prefixItems": [{"minimum": 3}]}
    told_apart(both | {"$schema": "https://json-schema.org/draft/2020-12/schema"}, [[3, 1], [3.5, 1]], [[2], [3, "a"]])
    old = both | {"$schema": "http://json-schema.org/draft-07/schema#"}
    assert [value for value in ([3, 1], [3.5], ["a"]) if writable(old, value)] == [[3, 1]]
    row = {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False}
    assert [value for value in ([], [1], [1, "a"], ["a"], [1, "a", 2]) if writable(row, value)] == [[], [1], [1, "a"]]


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"properties": {"a": {"items": {"uniqueItems": True}}}}, r"uniqueItems .*\(at #/properties/a/items\)"),
        ({"properties": {"a/b": {"multipleOf": 0.01}}}, r"multipleOf .*\(at #/properties/a~1b\)"),
        ({"anyOf": [{"type": "null"}, {"not": {"format": "date"}}]}, r"'not' .*\(at #/anyOf/1\)"),
        ({"properties": {"a": {"pattern": "a(?=b)"}}}, r"lookaround .*\(at #/properties/a\)"),
    ],
    ids=str,
)
def test_a_refusal_names_the_keyword_and_its_place(schema, line):
    """In a schema of a thousand lines nobody found what was refused."""
    with pytest.raises(EngineError, match=line):
        made(json.dumps(schema))
