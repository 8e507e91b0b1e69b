"""What an upstream must prove before it is rented out, and what is refused in its name; over real sockets."""

from __future__ import annotations

import logging

import pytest

from chain.errors import UsageError
from node.engine.protocol import EngineError
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.engine import UpstreamEngine
from node.values.inference import JsonObject, Sampling
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import HELLO, engine_for, failure
from tests.node.engine.upstream.hostile import (
    MODEL,
    counting,
    listing,
    refusing,
    saying,
    sending,
)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"models": refusing(401)}, "upstream_refused", "upstream_key_env"),
        ({"models": refusing(404)}, "upstream_unusable", "/v1"),
        ({"models": listing("a", "b")}, "unknown_model", "it has: a, b"),
        ({"models": saying({"hello": 1})}, "engine_crashed", "no list of models"),
        ({"models": sending(b"[" * (9 << 20), content_type="application/json")}, "engine_crashed", "too long"),
        ({"one_token": saying({"choices": []})}, "upstream_unusable", "can't be counted"),
        ({"one_token": refusing(503)}, "engine_unavailable", "503"),
        ({"own": {"/extras/tokenize/count": refusing(503)}}, "engine_unavailable", "503"),
        ({"chat": saying({"choices": []})}, "upstream_unusable", "a stream of events"),
    ],
)
async def test_a_server_that_can_t_be_rented_out_is_refused_with_the_owners_line(server, change, code, says):
    for name, handler in change.items():
        setattr(server, name, handler)
    engine = engine_for(server)
    with pytest.raises(EngineError) as raised:
        await engine.start()
    assert raised.value.code == code
    assert says in raised.value.line()
    assert engine.state.name == "closed"


async def test_nobody_at_the_address_is_one_clear_line(server):
    engine = UpstreamEngine("http://127.0.0.1:1/v1", MODEL)
    with pytest.raises(EngineError, match="can't be reached") as raised:
        await engine.start()
    assert raised.value.code == "engine_unavailable"


async def test_a_server_that_is_merely_busy_when_tried_is_rented_out(server):
    server.chat = refusing(429)
    async with engine_for(server) as engine:
        assert engine.state.name == "ready"
        await engine.start()
        server.one_token = counting(8)


async def test_the_key_travels_in_its_header_and_nowhere_else(server, caplog):
    caplog.set_level(logging.DEBUG)
    async with engine_for(server, key="sk-very-secret") as engine:
        await answer(engine, ask())
        server.chat = refusing(500, "boom")
        await failure(engine)
    assert all(headers["Authorization"] == "Bearer sk-very-secret" for headers in server.headers)
    assert all(headers["Accept-Encoding"] == "identity" for headers in server.headers)
    assert "sk-very-secret" not in caplog.text
    assert "sk-very-secret" not in str(server.asked)


@pytest.mark.parametrize(
    "wish",
    [
        {"response_format": JsonObject()},
        {"logprobs": 2},
        {"sampling": Sampling(logit_bias=((1, 2.0),))},
        {"sampling": Sampling(typical_p=0.9)},
    ],
    ids=["format", "logprobs", "bias", "typical"],
)
async def test_what_servers_pass_over_in_silence_is_refused_before_they_are_asked(server, wish):
    async with engine_for(server) as engine:
        before = len(server.asked)
        with pytest.raises(EngineError, match="can't promise") as raised:
            await answer(engine, ask(**wish))
        assert raised.value.code == "bad_request"
        assert len(server.asked) == before


async def test_an_upstream_neither_scores_nor_embeds(server):
    async with engine_for(server) as engine:
        for work in (engine.score(HELLO, "hi"), engine.embed(["hi"])):
            with pytest.raises(EngineError, match="can't promise") as raised:
                await work
            assert raised.value.code == "bad_request"


@pytest.mark.parametrize(
    "url", ["", "localhost:1", "ftp://h/v1", "http://", "http://h/v1?x=1", "http://a:b@h/v1", "http://h:99999/v1"]
)
def test_an_address_that_can_t_be_asked_is_refused(url):
    with pytest.raises(UsageError) as raised:
        UpstreamClient(url)
    assert raised.value.code == "bad_url"


@pytest.mark.parametrize("key", ["a b", "a\nX-Evil: 1", "é", "x" * 5_000])
def test_a_key_that_is_no_token_is_refused_and_not_repeated(key):
    with pytest.raises(UsageError) as raised:
        UpstreamClient("http://h/v1", key)
    assert key not in raised.value.line()
