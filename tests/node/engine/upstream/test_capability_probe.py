"""What an upstream can do is seen at the start: what it showed is served, in its own dialect, and the rest refused."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from node.engine.protocol import Chunk, EngineError
from node.engine.upstream.engine import UpstreamEngine
from node.values.inference import JsonObject, JsonSchema
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.able import (
    PAGES,
    embedding,
    keeping_to_formats,
    llama_server_entry,
    telling_as_llama_server,
    telling_as_vllm,
    told,
)
from tests.node.engine.upstream.engines import engine_for
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    STOP,
    Handler,
    chunk,
    refusing,
    saying,
    sending,
    speaking,
)
from tests.patience import PATIENCE_S

SCHEMA = '{"type": "object", "properties": {"color": {"enum": ["red"]}}, "required": ["color"]}'
PARSED = {"type": "object", "properties": {"color": {"enum": ["red"]}}, "required": ["color"]}
OF_A_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": PARSED, "strict": True}}
OF_ANY_OBJECT = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
}
CHAT = "/v1/chat/completions"


async def refusal(engine: UpstreamEngine, **wish) -> EngineError:
    with pytest.raises(EngineError) as raised:
        await answer(engine, ask(**wish))
    return raised.value


async def is_served(engine: UpstreamEngine, **wish) -> bool:
    try:
        await answer(engine, ask(**wish))
    except EngineError:
        return False
    return True


async def logprobs(engine: UpstreamEngine, tops: int):
    events = [event async for event in engine.generate(ask(logprobs=tops))]
    return [(event.text, event.logprobs) for event in events if isinstance(event, Chunk)]


# The format of an answer


@pytest.mark.parametrize(
    ("kind", "keeps", "of_a_schema", "of_any_object"),
    [
        ("openai", ("json_schema", "json_object"), OF_A_SCHEMA, {"type": "json_object"}),
        ("vllm", ("json_schema",), OF_A_SCHEMA, OF_ANY_OBJECT),
        ("ollama", ("json_schema",), OF_A_SCHEMA, OF_ANY_OBJECT),
        ("tgi", ("json",), {"type": "json", "value": PARSED}, {"type": "json", "value": {"type": "object"}}),
    ],
)
async def test_a_format_is_asked_for_as_the_server_reads_it(server, kind, keeps, of_a_schema, of_any_object):
    server.own = PAGES[kind]
    server.chat = keeping_to_formats(*keeps)
    async with engine_for(server) as engine:
        text, *_ = await answer(engine, ask(response_format=JsonSchema(SCHEMA)))
        assert text == '{"color": "red"}'
        assert server.bodies(CHAT)[-1]["response_format"] == of_a_schema
        assert (await answer(engine, ask(response_format=JsonObject())))[0] == "{}"
        assert server.bodies(CHAT)[-1]["response_format"] == of_any_object


@pytest.mark.parametrize("kind", ["llama-server", "llama-cpp-python"])
async def test_servers_of_llama_cpp_get_the_grammar_that_our_own_engine_would_hold_to(server, kind):
    server.own = PAGES[kind]
    server.chat = keeping_to_formats("grammar")
    async with engine_for(server) as engine:
        await answer(engine, ask(response_format=JsonSchema(SCHEMA)))
        asked = server.bodies(CHAT)[-1]
        assert "root ::=" in asked["grammar"]
        assert r"\"red\"" in asked["grammar"]
        assert "response_format" not in asked
        await answer(engine, ask(response_format=JsonObject()))
        assert r"\"red\"" not in server.bodies(CHAT)[-1]["grammar"]


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize(
    "chat",
    [speaking("One two"), speaking('{"sesame": "closed"}'), speaking("{", "}")],
    ids=["ignored", "another", "any object"],
)
async def test_a_server_that_does_not_keep_to_a_schema_is_not_asked_for_one(server, kind, chat):
    server.own = PAGES[kind]
    server.chat = chat
    async with engine_for(server) as engine:
        before = len(server.bodies(CHAT))
        error = await refusal(engine, response_format=JsonSchema(SCHEMA))
        assert error.code == "bad_request"
        assert "keep to a JSON schema" in error.line()
        assert len(server.bodies(CHAT)) == before


async def test_a_server_that_never_ends_its_answer_is_left_when_it_was_tried_enough(server):
    async def endless(request, body):
        if "response_format" not in body and "logprobs" not in body:
            return await speaking("fine")(request, body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(chunk('{"a":' * 100))

    server.chat = endless
    async with asyncio.timeout(PATIENCE_S), engine_for(server) as engine:
        assert (await refusal(engine, response_format=JsonObject())).code == "bad_request"
        assert (await answer(engine, ask()))[0] == "fine"


async def test_a_server_may_keep_to_objects_and_not_to_schemas(server):
    server.chat = keeping_to_formats("json_object")
    async with engine_for(server) as engine:
        assert (await answer(engine, ask(response_format=JsonObject())))[0] == "{}"
        assert "JSON schema" in (await refusal(engine, response_format=JsonSchema(SCHEMA))).line()


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 503])
async def test_a_server_that_refuses_formats_answers_in_text_all_the_same(server, status):
    async def picky(request, body):
        handler = refusing(status, "response_format") if "response_format" in body else speaking("fine")
        return await handler(request, body)

    server.chat = picky
    async with engine_for(server) as engine:
        assert (await answer(engine, ask()))[0] == "fine"
        assert (await refusal(engine, response_format=JsonObject())).code == "bad_request"


@pytest.mark.parametrize(
    "schema", ["{", "[1", '{"type": "string", "pattern": "a(?=b)"}', '{"const": NaN}', "[" * 60_000]
)
async def test_a_schema_that_no_grammar_can_hold_is_refused_before_the_server_is_asked(server, schema):
    server.own = PAGES["vllm"]
    server.chat = keeping_to_formats("json_schema")
    async with engine_for(server) as engine:
        before = len(server.bodies(CHAT))
        assert (await refusal(engine, response_format=JsonSchema(schema))).code == "bad_request"
        assert len(server.bodies(CHAT)) == before


@pytest.mark.parametrize(
    "words", ["Grammar error: not context-free", "Invalid schema: model not found", "response_format is not supported"]
)
async def test_a_servers_refusal_of_a_schema_is_the_buyers_to_change(server, words):
    server.chat = keeping_to_formats("json_schema")
    async with engine_for(server) as engine:
        server.chat = refusing(400, words)
        error = await refusal(engine, response_format=JsonSchema(SCHEMA))
        assert (error.code, error.fix) == ("bad_request", "Change the schema, or choose another offer.")
        assert words not in error.line()
        assert engine.state.name == "ready"


# Log-probabilities


async def test_llama_servers_log_probabilities_come_with_their_ids_and_alternatives(server):
    server.own = PAGES["llama-server"]
    server.chat = telling_as_llama_server("One", " two")
    async with engine_for(server) as engine:
        (first, (one,)), (second, (two,)) = await logprobs(engine, 3)
        assert (first, one.token, one.data, one.logprob) == ("One", 10, b"One", -0.5)
        assert [(top.token, top.data, top.logprob) for top in one.top] == [
            (90, b"x", -1.0), (91, b"x", -2.0), (92, b"x", -3.0),
        ]  # fmt: skip
        assert (second, two.token) == (" two", 11)
        assert [one.top for _, (one,) in await logprobs(engine, 0)] == [(), ()]
        asked = server.bodies(CHAT)[-1]
        assert (asked["logprobs"], asked["top_logprobs"]) == (True, 1), "for no alternative it would tell nothing"


async def test_vllm_tells_each_tokens_id_and_no_alternatives(server):
    server.own = PAGES["vllm"]
    server.chat = telling_as_vllm("One", " two")
    async with engine_for(server) as engine:
        (_, (one,)), (_, (two,)) = await logprobs(engine, 0)
        assert [(one.token, one.data), (two.token, two.data)] == [(10, b"One"), (11, b" two")]
        asked = server.bodies(CHAT)[-1]
        assert (asked["logprobs"], asked["top_logprobs"], asked["return_tokens_as_token_ids"]) == (True, 0, True)
        assert "more than 0 of the most likely" in (await refusal(engine, logprobs=1)).line()


async def test_a_server_that_tells_no_ids_is_not_asked_for_log_probabilities(server):
    server.chat = telling_as_vllm("One", " two")
    async with engine_for(server) as engine:
        before = len(server.bodies(CHAT))
        assert (await refusal(engine, logprobs=0)).code == "bad_request"
        assert len(server.bodies(CHAT)) == before


async def test_log_probabilities_of_other_bytes_than_the_text_are_not_served(server):
    server.own = PAGES["llama-server"]
    server.chat = sending(told(" One", llama_server_entry(1, "<x>One")), STOP, DONE)
    async with engine_for(server) as engine:
        assert (await refusal(engine, logprobs=0)).code == "bad_request"


async def test_a_stream_that_stops_telling_log_probabilities_is_broken(server):
    server.own = PAGES["llama-server"]
    server.chat = telling_as_llama_server("One", " two")
    async with engine_for(server) as engine:
        server.chat = sending(told("One", llama_server_entry(1, "One")), *[chunk("x" * 100)] * 3, STOP, DONE)
        assert (await refusal(engine, logprobs=0)).code == "engine_crashed"
        server.chat = speaking("One", " two")
        assert (await refusal(engine, logprobs=0)).code == "engine_crashed"
        server.chat = sending(told("One", {"oops": 1}), STOP, DONE)
        assert (await answer(engine, ask()))[0] == "One", "what was not asked for is not read"


# Embeddings


async def test_embeddings_are_of_length_one_whatever_the_server_makes_them(server):
    server.own = {"/v1/embeddings": embedding(3, 4, tokens=5)}
    async with engine_for(server) as engine:
        made = await engine.embed(["hello", "there"])
        assert made.vectors == ((0.6, 0.8), (0.6, 0.8))
        assert made.input_tokens == (5, 5)
        assert (await engine.info()).embedding_length == 2
        assert server.bodies("/v1/embeddings")[-1] == {"model": MODEL, "input": "there", "encoding_format": "float"}


async def test_vectors_of_each_token_are_pooled_by_their_mean(server):
    server.own = {"/v1/embeddings": embedding([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])}
    async with engine_for(server) as engine:
        (vector,) = (await engine.embed(["hello"])).vectors
        assert vector == pytest.approx((0.5**0.5, 0.5**0.5, 0.0))


@pytest.mark.parametrize(
    "handler",
    [
        refusing(404),
        refusing(501, "start it with --embeddings"),
        refusing(429),
        refusing(503),
        embedding(),
        embedding(0.0, 0.0),
        embedding("a"),
        embedding([1.0], [1.0, 2.0]),
        embedding(1.0, tokens=None),
        embedding(1.0, tokens=0),
        embedding(1.0, tokens=-4),
        embedding(1.0, rows=2),
        embedding(*[1.0] * 70_000),
        sending(b'{"data": [{"embedding": [NaN]}], "usage": {"prompt_tokens": 1}}', content_type="application/json"),
        sending(b'{"data": [{"embedding": [1e999]}], "usage": {"prompt_tokens": 1}}', content_type="application/json"),
    ],
)
async def test_a_server_that_shows_no_vector_is_not_asked_for_one(server, handler: Handler):
    server.own = {"/v1/embeddings": handler}
    async with engine_for(server) as engine:
        before = len(server.bodies("/v1/embeddings"))
        with pytest.raises(EngineError, match="can't promise embedding texts") as raised:
            await engine.embed(["hello"])
        assert raised.value.code == "bad_request"
        assert len(server.bodies("/v1/embeddings")) == before
        assert (await engine.info()).embedding_length == 0


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (embedding(1.0, 2.0, 3.0), "engine_crashed"),
        (embedding(1.0, "x"), "engine_crashed"),
        (embedding(3.0, 4.0, tokens=2_048), "context_too_long"),
        (refusing(400, "maximum context length is 512 tokens"), "context_too_long"),
        (refusing(500, "input (600 tokens) is too large to process"), "context_too_long"),
        (refusing(429), "engine_busy"),
    ],
)
async def test_an_embedding_that_fails_later_is_one_coded_line(server, handler: Handler, code):
    server.own = {"/v1/embeddings": embedding(3, 4)}
    async with engine_for(server) as engine:
        server.own = {"/v1/embeddings": handler}
        with pytest.raises(EngineError) as raised:
            await engine.embed(["hello"])
        assert raised.value.code == code


async def test_a_text_of_which_a_server_would_embed_only_the_beginning_is_refused(server):
    server.own = PAGES["llama-cpp-python"] | {"/v1/embeddings": embedding(3, 4, tokens=512)}
    async with engine_for(server) as engine:
        server.own = server.own | {"/extras/tokenize/count": saying({"count": 513})}
        with pytest.raises(EngineError, match="longer than the provider's server embeds"):
            await engine.embed(["a long text"])
        server.own["/extras/tokenize/count"] = saying({"count": 512})
        assert (await engine.embed(["a long text"])).input_tokens == (512,)


@pytest.mark.parametrize("texts", [[], [""], ["x"] * 300, ["\ud800"]], ids=["none", "empty", "many", "half"])
async def test_texts_that_have_no_embedding_are_refused_before_the_server_is_asked(server, texts):
    server.own = {"/v1/embeddings": embedding(3, 4)}
    async with engine_for(server) as engine:
        before = len(server.bodies("/v1/embeddings"))
        with pytest.raises(EngineError) as raised:
            await engine.embed(texts)
        assert raised.value.code == "bad_request"
        assert len(server.bodies("/v1/embeddings")) == before


# When it is tried


async def test_what_was_seen_is_logged_once(server, caplog):
    caplog.set_level(logging.INFO, "node.engine.upstream")
    server.own = PAGES["llama-server"] | {"/v1/embeddings": embedding(3, 4)}
    server.chat = telling_as_llama_server("One", " two")
    async with engine_for(server) as engine:
        await answer(engine, ask())
        await asyncio.sleep(0.1)  # several looks of the watcher long
    (line,) = [record.getMessage() for record in caplog.records if "upstream_capabilities_found" in record.getMessage()]
    assert "log-probabilities with 20 alternatives, embeddings of 2 numbers" in line


async def test_a_server_that_was_too_busy_to_be_tried_is_tried_again(server):
    server.chat = refusing(429)
    async with engine_for(server) as engine:
        assert (await refusal(engine, response_format=JsonSchema(SCHEMA))).code == "bad_request"
        server.chat = keeping_to_formats("json_schema")
        async with asyncio.timeout(PATIENCE_S):
            while not await is_served(engine, response_format=JsonSchema(SCHEMA)):
                await asyncio.sleep(0.02)


async def test_a_server_that_came_back_is_tried_anew(server):
    server.chat = keeping_to_formats("json_schema")
    async with engine_for(server) as engine:
        models, server.models = server.models, refusing(503)
        async with asyncio.timeout(PATIENCE_S):
            while engine.state.name == "ready":
                await asyncio.sleep(0.02)
            server.chat, server.models = speaking("fine"), models
            while engine.state.name != "ready":
                await asyncio.sleep(0.02)
        assert "can't promise" in (await refusal(engine, response_format=JsonSchema(SCHEMA))).line()
