"""The upstream engine against a real ``llama_cpp.server``: no usage in its streams, and one request at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from node.engine.protocol import Chunk, EngineError
from node.engine.upstream.engine import UpstreamEngine
from node.engine.upstream.limits import UpstreamLimits
from node.models.catalog import DEMO_PATH
from node.values.inference import ChatMessage, JsonObject, JsonSchema, Sampling
from tests.node.engine.helpers import answer, ask, engine_of
from tests.node.engine.upstream.llama_server import ALIAS, llama_cpp_server
from tests.patience import PATIENCE_S

KEY = "sk-real-one"
QUESTION = "What is 17 + 25?"


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with llama_cpp_server(tmp_path_factory.mktemp("upstream"), key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def embedding_url(tmp_path_factory) -> Iterator[str]:
    with llama_cpp_server(tmp_path_factory.mktemp("embedding"), key=KEY, embeds=True) as running:
        yield running


def engine_for(url: str, **settings) -> UpstreamEngine:
    return UpstreamEngine(url, ALIAS, limits=UpstreamLimits(watch_s=0.05), **({"key": KEY} | settings))


async def test_it_answers_as_the_engine_of_our_own_does(url, tmp_path):
    async with engine_for(url) as engine:
        info = await engine.info()
        theirs = await answer(engine, ask(QUESTION))
    async with engine_of(DEMO_PATH, tmp_path / "engine.log") as engine:
        ours = await answer(engine, ask(QUESTION))
    assert theirs[0] == ours[0]
    assert theirs[1].input_tokens == ours[1].input_tokens
    assert theirs[2].reason == ours[2].reason == "stop"
    assert theirs[2].output_tokens <= ours[2].output_tokens
    assert (info.engine_build, info.slots) == ("upstream llama-cpp-python", 1)
    assert info.tokens_per_s > 0
    assert info.ttft_ms > 0


async def test_the_limit_of_tokens_is_its_limit_too(url):
    async with engine_for(url) as engine:
        _, _, finished = await answer(engine, ask(QUESTION, max_tokens=4))
    assert (finished.reason, finished.output_tokens) == ("length", 4)


async def test_two_at_once_both_get_their_whole_answer_though_it_breaks_off_one_for_the_other(url):
    async with engine_for(url) as engine:
        both = await asyncio.gather(answer(engine, ask(QUESTION)), answer(engine, ask("What is 3 + 4?")))
        alone = [(await answer(engine, ask(question)))[0] for question in (QUESTION, "What is 3 + 4?")]
    assert [one[0] for one in both] == alone


async def test_its_refusal_of_a_long_conversation_is_a_context_too_long(url):
    async with engine_for(url, context_length=1 << 16) as engine:
        with pytest.raises(EngineError) as raised:
            await engine.count((ChatMessage("user", "x y " * 3_000),))
        assert raised.value.code == "context_too_long"
        assert engine.state.name == "ready"
        assert 1_500 < (await engine.info()).context_length <= 2_048, "what it refuses is not offered"


async def test_a_reader_that_leaves_frees_it_for_the_next(url):
    async with engine_for(url) as engine:
        stream = engine.generate(ask("Tell me a long story.", max_tokens=1_000))
        async for event in stream:
            if isinstance(event, Chunk):
                break
        await stream.aclose()
        async with asyncio.timeout(PATIENCE_S):
            assert "42" in (await answer(engine, ask(QUESTION)))[0]


async def test_a_wrong_key_is_the_owners_business(url):
    with pytest.raises(EngineError) as raised:
        await engine_for(url, key="sk-wrong").start()
    assert raised.value.code == "upstream_refused"
    assert "sk-wrong" not in raised.value.line()


async def test_an_answer_keeps_to_a_schema_and_to_an_object(url):
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "integer"}, "sure": {"enum": ["yes", "no"]}},
        "required": ["sum", "sure"],
        "additionalProperties": False,
    }
    form, warm = JsonSchema(json.dumps(schema)), Sampling(temperature=1.5, seed=3)
    async with engine_for(url) as engine:
        text, *_ = await answer(engine, ask(QUESTION, response_format=form, max_tokens=80, sampling=warm))
        read = json.loads(text)
        assert (type(read["sum"]), read["sure"] in {"yes", "no"}, len(read)) == (int, True, 2)
        text, *_ = await answer(engine, ask(QUESTION, response_format=JsonObject(), max_tokens=200))
        assert text.startswith("{")


async def test_its_log_probabilities_name_no_tokens_and_are_refused(url):
    async with engine_for(url) as engine:
        with pytest.raises(EngineError, match="log-probabilities") as raised:
            await answer(engine, ask(QUESTION, logprobs=2))
    assert raised.value.code == "bad_request"


async def test_it_embeds_nothing_unless_started_for_it(url):
    async with engine_for(url) as engine:
        with pytest.raises(EngineError, match="embedding texts"):
            await engine.embed(["hello"])


async def test_its_vectors_are_those_of_the_engine_of_our_own(embedding_url, tmp_path):
    texts = ["hello", "the model and the model", "é" * 40]
    async with engine_for(embedding_url) as engine:
        theirs = await engine.embed(texts)
        assert "42" in (await answer(engine, ask(QUESTION)))[0]
        with pytest.raises(EngineError) as raised:
            await engine.embed(["word " * 600])
    assert raised.value.code == "context_too_long", "it would embed its first 512 tokens and say nothing"
    async with engine_of(DEMO_PATH, tmp_path / "engine.log") as engine:
        ours = await engine.embed(texts)
    for one, other in zip(theirs.vectors, ours.vectors, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert theirs.input_tokens == ours.input_tokens
