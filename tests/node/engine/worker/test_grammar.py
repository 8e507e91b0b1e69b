"""What a grammar lets through validates against its schema, and no schema harms the process that asks for one."""

from __future__ import annotations

import asyncio
import ctypes
import json
import random
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.formats import Formats
from node.engine.protocol import EngineError, JsonObject, JsonSchema
from node.engine.worker.grammar import to_gbnf
from node.engine.worker.native import llama, quiet_log
from node.engine.worker.schema import MAX_NODES, reduced
from node.engine.worker.vocabulary import Vocabulary

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


def written(vocabulary: Vocabulary, grammar: str, dice: random.Random, *, limit: int = 3_000) -> str | None:
    """Text of tokens drawn at random among those that the grammar allows; None if it doesn't end in time."""
    native = llama.llama_sampler_init_grammar(vocabulary.native, grammar.encode(), b"root")
    # llama.cpp takes bytes for characters that are none; an answer shows them as U+FFFD, which may be more of them.
    silent, size, raw = set(vocabulary.silent_tokens()), vocabulary.size, b""
    data = (llama.llama_token_data * size)()
    try:
        for _ in range(limit):
            for token in range(size):
                data[token] = llama.llama_token_data(token, 0.0, 0.0)
            array = llama.llama_token_data_array(data, size, -1, False)
            llama.llama_sampler_apply(native, ctypes.byref(array))
            allowed = [one.id for one in data if one.logit == 0.0 and one.id not in silent]
            ends = [token for token in allowed if vocabulary.piece(token) is None]
            if ends:
                return raw.decode()
            token = dice.choice([one for one in allowed if whole(vocabulary.piece(one) or b"")] or allowed)
            raw += vocabulary.piece(token) or b""
            llama.llama_sampler_accept(native, token)
    finally:
        llama.llama_sampler_free(native)
    return None


def schemas() -> st.SearchStrategy[dict[str, object]]:
    values = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
    lengths = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted)
    leaves = st.one_of(
        st.sampled_from(["boolean", "null", "integer", "number"]).map(lambda name: {"type": name}),
        lengths.map(lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[1]}),
        st.sampled_from(["uuid", "date", "time", "date-time"]).map(lambda name: {"type": "string", "format": name}),
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
        return st.one_of(objects, arrays, tuples, unions)

    return st.recursive(leaves, grown, max_leaves=6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schemas(), st.integers(0, 2**32))
def test_what_the_grammar_of_a_schema_allows_validates(vocabulary, schema, seed):
    grammar = to_gbnf(json.dumps(schema))
    text = written(vocabulary, grammar, random.Random(seed))
    assert text is not None
    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)


def test_a_schema_may_refer_to_itself(vocabulary):
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
        text = written(vocabulary, to_gbnf(json.dumps(schema)), random.Random(seed))
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ("{", "no JSON"),
        ("[" * 60_000, "no JSON"),
        ("3", "no object"),
        ("false", "no object"),
        ('{"type": "quux"}', "no type"),
        ('{"type": "string", "pattern": "^(a?){99}$"}', "'pattern'"),
        ('{"type": "integer", "minimum": 3}', "'minimum'"),
        ('{"type": "object", "properties": {"a": {}}, "patternProperties": {}}', "'patternProperties'"),
        ('{"type": "object", "properties": {"a": {}}, "required": ["b"]}', "required"),
        ('{"type": "string", "maxLength": 1000000}', "maxLength"),
        ('{"type": "array", "items": {}, "minItems": 3, "maxItems": 2}', "less than"),
        ('{"type": "array", "prefixItems": [{}], "items": {}}', "prefixItems"),
        ('{"type": "string", "format": "uuid", "minLength": 2}', "together"),
        ('{"allOf": [{}, {}]}', "allOf"),
        ('{"anyOf": []}', "anyOf"),
        ('{"enum": []}', "enum"),
        ('{"enum": [1], "type": "string"}', "No value"),
        ('{"$ref": "https://example.org/schema"}', "its own parts"),
        ('{"$ref": "#/$defs/none"}', "doesn't have"),
        ('{"not": {}}', "'not'"),
        (
            '{"anyOf": [{"items": {}}, {"$ref": "#/$defs/l"}], "$defs": {"l": {"items": {}}}}',
            "one kind of",
        ),
        (json.dumps({"enum": list(range(2_000))}), "500 values"),
        (json.dumps({"type": "array", "prefixItems": [{}] * (MAX_NODES + 1)}), "parts"),
        ('{"items":' * 40 + "{}" + "}" * 40, "deep"),
        (json.dumps({"properties": {str(n): {} for n in range(300)}}), "200 properties"),
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
    assert "root ::= object" in await formats.grammar(JsonObject())
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
        '{"type": "integer", "multipleOf": 3}',
        "half \ud83d",
    ],
)
async def test_a_schema_that_makes_no_grammar_is_a_bad_request(schema):
    with pytest.raises(EngineError) as error:
        await Formats().grammar(JsonSchema(schema))
    assert error.value.code == "bad_request"


async def test_a_schema_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr("node.engine.formats.MAX_SECONDS", 0.0)
    with pytest.raises(EngineError, match="too much time"):
        await Formats().grammar(JsonObject())
