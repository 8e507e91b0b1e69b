"""The upstream engine against a server that misbehaves in every way a server can, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from aiohttp import web

from chain.errors import UsageError
from node.engine.protocol import ChatMessage, Chunk, EngineError, Finished, JsonObject, Sampling, Started
from node.engine.state import EngineState
from node.engine.upstream import sse
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.dialect import model_id
from node.engine.upstream.engine import UNKNOWN_CONTEXT, UpstreamEngine
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    STOP,
    Upstream,
    chunk,
    counting,
    cutting,
    event,
    listing,
    refusing,
    saying,
    sending,
    speaking,
    usage,
)

HELLO = (ChatMessage("user", "hello"),)


class States:
    """What the engine said about itself, in order."""

    def __init__(self) -> None:
        self.seen: list[EngineState] = []
        self._news = asyncio.Event()

    def __call__(self, state: EngineState) -> None:
        self.seen.append(state)
        self._news.set()

    async def until(self, *names: str) -> EngineState:
        async with asyncio.timeout(20):
            while True:
                found = [state.name for state in self.seen]
                at = -1
                for name in names:
                    at = found.index(name, at + 1) if name in found[at + 1 :] else len(found)
                if at < len(found):
                    return self.seen[at]
                self._news.clear()
                await self._news.wait()


def engine_for(server: Upstream, **settings) -> UpstreamEngine:
    return UpstreamEngine(server.url, MODEL, **({"watch_seconds": 0.02, "stall_seconds": 5.0} | settings))


async def failure(engine: UpstreamEngine, **changes) -> EngineError:
    with pytest.raises(EngineError) as raised:
        async for _ in engine.generate(ask(**changes)):
            pass
    return raised.value


async def test_an_answer_streams_with_the_prompts_count_and_the_seed_used(server):
    async with engine_for(server) as engine:
        text, started, finished = await answer(engine, ask(sampling=Sampling(seed=5)))
        assert (text, started.input_tokens, started.seed) == ("One two three", 7, 5)
        assert (finished.reason, finished.output_tokens) == ("stop", 3)
        asked = server.bodies("/v1/chat/completions")[-1]
        assert asked["seed"] == 5
        assert asked["stream_options"] == {"include_usage": True}
        assert asked["messages"] == [{"role": "user", "content": "hello"}]
        assert "top_k" not in asked, "a server that is only known to speak OpenAI's API may refuse what is not in it"


async def test_what_is_rented_out_is_named_and_not_hashed(server):
    async with engine_for(server, slots=3) as engine:
        info = await engine.info()
    assert (info.model_name, info.architecture, info.quantization) == (MODEL, "upstream", "unknown")
    assert info.model_sha256 == model_id(MODEL) != model_id("another")
    assert (info.context_length, info.slots) == (UNKNOWN_CONTEXT, 3)
    assert info.tokens_per_s >= 0
    assert info.engine_build == "upstream openai"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_what_a_reasoning_model_thinks_is_delivered_and_paid_as_thinking(server, name):
    def thought(text: str, **more: str) -> bytes:
        return event({"choices": [{"index": 0, "delta": {name: text, **more}, "finish_reason": None}]})

    server.chat = sending(
        thought("Let me"), thought(" see", content=""), thought(".", content="4"), chunk("2"), STOP, DONE
    )
    async with engine_for(server) as engine:
        events = [event async for event in engine.generate(ask())]
    chunks = [(e.text, e.thinking, e.tokens) for e in events if isinstance(e, Chunk)]
    assert chunks == [("Let me", True, 1), (" see", True, 1), (".", True, 1), ("4", False, 0), ("2", False, 1)]
    assert events[-1].output_tokens == 4


async def test_the_servers_own_count_at_the_end_is_billed_when_it_gathers_tokens(server):
    server.chat = speaking("a whole sentence at once", stated=9)
    async with engine_for(server) as engine:
        events = [event async for event in engine.generate(ask())]
    assert [e.tokens for e in events if isinstance(e, Chunk)] == [1, 8]
    assert events[-1].output_tokens == 9


async def test_a_server_that_cuts_tokens_in_two_is_found_out_before_the_first_buyer(server):
    server.chat = speaking(*"abcdefgh", stated=4)
    async with engine_for(server) as engine:
        events = [event async for event in engine.generate(ask())]
        assert sum(e.tokens for e in events if isinstance(e, Chunk)) == 4


async def test_bytes_bound_the_bill_whatever_the_server_states(server):
    server.chat = speaking("ab", stated=500)
    async with engine_for(server) as engine:
        assert (await answer_events(engine))[-1].output_tokens == 2


async def answer_events(engine: UpstreamEngine, **changes):
    return [event async for event in engine.generate(ask(**changes))]


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (429, "", "engine_busy"),
        (400, "maximum context length is 10 tokens", "context_too_long"),
        (422, "top_p", "bad_request"),
        (500, "boom", "engine_crashed"),
        (504, "", "engine_stalled"),
    ],
)
async def test_a_refused_request_is_that_requests_business_alone(server, status, words, code):
    states = States()
    async with engine_for(server, on_state=states) as engine:
        server.chat = refusing(status, words)
        assert (await failure(engine)).code == code
        server.chat = speaking("fine")
        assert (await answer(engine, ask()))[0] == "fine"
        assert [state.name for state in states.seen] == ["starting", "ready"]


async def test_a_busy_server_says_when_to_come_back(server):
    async with engine_for(server) as engine:
        server.chat = refusing(429, "slow down", **{"Retry-After": "12"})
        error = await failure(engine)
    assert (error.code, error.fix) == ("engine_busy", "Try again in 12 s.")
    assert "slow down" not in error.line()


async def test_an_unavailable_server_is_withdrawn_for_as_long_as_it_asks_and_comes_back_by_itself(server):
    states = States()
    async with engine_for(server, on_state=states) as engine:
        server.chat = refusing(503, "loading", **{"Retry-After": "1"})
        error = await failure(engine)
        assert (error.code, error.fix) == ("engine_unavailable", "Try again in 1 s.")
        assert "503" in (await states.until("restarting")).why
        assert (await failure(engine)).fix == "Try again in 1 s.", "nothing is asked meanwhile"
        server.chat = speaking("back")
        await states.until("restarting", "ready")
        assert (await answer(engine, ask()))[0] == "back"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_the_owners_business_and_comes_right_by_itself(server, status):
    states = States()
    async with engine_for(server, on_state=states, key="sk-secret") as engine:
        server.chat = server.models = refusing(status, "bad key")
        error = await failure(engine)
        assert error.code == "upstream_refused"
        assert "key" not in error.line(), "a buyer can do nothing about it"
        down = await states.until("failed")
        assert "upstream_key_env" in down.why
        assert "sk-secret" not in down.why + str(error) + repr(engine)
        server.models, server.chat = listing(MODEL), speaking("fine")
        await states.until("failed", "ready")


async def test_a_lost_model_is_told_with_what_there_is(server):
    states = States()
    async with engine_for(server, on_state=states) as engine:
        server.models = listing("other-model", "x\x1b[31my")
        down = await states.until("failed")
        assert f"{MODEL!r}; it has: other-model, xy" in down.why
        assert (await failure(engine)).code == "engine_unavailable"


async def test_a_server_that_went_away_is_noticed_and_found_again(server):
    states = States()
    async with engine_for(server, on_state=states):

        async def gone(request: web.Request, body) -> web.StreamResponse:
            request.transport.abort()
            return web.Response()

        server.models = gone
        assert "can't be reached" in (await states.until("restarting")).why
        server.models = listing(MODEL)
        await states.until("restarting", "ready")


BROKEN = {
    "html": sending(b"<html>hi</html>", content_type="text/html"),
    "json instead of a stream": saying({"choices": []}),
    "no json": sending(b"data: {oops\n\n"),
    "a line without an end": sending(b"data: " + b"x" * (sse.MAX_LINE_BYTES + 1)),
    "the end before the end": sending(chunk("One")),
    "done without a reason": sending(chunk("One"), DONE),
    "a cut connection": cutting(chunk("One")),
    "an error in the stream": sending(chunk("One"), event({"error": {"message": "boom"}})),
    "a redirect": refusing(307, Location="http://127.0.0.1:1/"),
    "bytes that are compressed": saying({}, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_one_coded_line_and_the_next_request_works(server, name):
    async with engine_for(server) as engine:
        server.chat = BROKEN[name]
        error = await failure(engine)
        assert error.code in {"engine_crashed", "upstream_unusable"}
        assert error.fix
        server.chat = speaking("fine")
        async with asyncio.timeout(10):
            while engine.state.name != "ready":
                await asyncio.sleep(0)
        assert (await answer(engine, ask()))[0] == "fine"


async def test_a_stream_that_only_keeps_its_connection_alive_is_given_up(server):
    async def pinging(request: web.Request, body) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("One"))
        while True:
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.02)

    async with engine_for(server, stall_seconds=0.3) as engine:
        server.chat = pinging
        error = await failure(engine)
    assert error.code == "engine_stalled"


def hanging(*parts: bytes) -> tuple[Callable, asyncio.Event, asyncio.Event]:
    """A stream that goes on for ever after these parts; tells when it began, and when its client went away."""
    began, gone = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request, body) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        began.set()
        try:
            while True:
                await response.write(b": ping\n\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            gone.set()
        return response

    return handler, began, gone


async def test_a_cancelled_request_ends_cancelled_and_ends_the_upstreams_work(server):
    async with engine_for(server) as engine:
        server.chat, _, gone = hanging(chunk("One"))
        request = ask()
        events = []
        async for one in engine.generate(request):
            events.append(one)
            if isinstance(one, Chunk):
                await engine.cancel(request.request_id)
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "cancelled"
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_reader_that_leaves_ends_the_upstreams_work(server):
    async with engine_for(server) as engine:
        server.chat, _, gone = hanging(chunk("One"))
        stream = engine.generate(ask())
        assert isinstance(await anext(stream), Started)
        assert isinstance(await anext(stream), Chunk)
        await stream.aclose()
        async with asyncio.timeout(10):
            await gone.wait()


async def test_closing_the_engine_ends_what_runs(server):
    engine = engine_for(server)
    await engine.start()
    server.chat, began, gone = hanging()
    running = asyncio.create_task(failure(engine))
    await began.wait()
    await engine.close()
    assert (await running).code == "engine_closed"
    assert (await failure(engine)).code == "engine_closed"
    async with asyncio.timeout(10):
        await gone.wait()


async def test_a_streams_connection_is_not_used_again(server):
    """llama-server ends it without saying so, and whoever used it next would be cut off."""
    peers = []

    async def remembering(request: web.Request, body) -> web.StreamResponse:
        peers.append(request.transport.get_extra_info("peername"))
        return await speaking("fine")(request, body)

    async with engine_for(server) as engine:
        server.chat = remembering
        for _ in range(3):
            await answer(engine, ask())
    assert len(set(peers)) == len(peers) == 3


async def test_one_id_runs_once(server):
    async with engine_for(server) as engine:
        server.chat, _, _ = hanging(chunk("One"))
        request = ask()
        stream = engine.generate(request)
        await anext(stream)
        await anext(stream)
        assert (await failure(engine, request_id=request.request_id)).code == "bad_request"
        await stream.aclose()


# Who the server is


async def test_a_llama_server_tells_its_context_and_slots_and_counts_by_its_template(server):
    server.own["/props"] = saying({"default_generation_settings": {"n_ctx": 512}, "total_slots": 2, "build_info": "b9"})
    server.own["/apply-template"] = saying({"prompt": "<user>hello"})
    server.own["/tokenize"] = saying({"tokens": [1, 2, 3]})
    server.chat = sending(chunk("One", timings={"predicted_n": 1}), chunk(finish="stop"), usage(1, prompt=3), DONE)
    async with engine_for(server, slots=8) as engine:
        info = await engine.info()
        assert (info.context_length, info.slots, info.engine_build) == (512, 2, "upstream llama-server b9")
        assert await engine.count(HELLO) == 3
        await answer(engine, ask(sampling=Sampling(temperature=0, top_k=9)))
        assert server.bodies("/v1/chat/completions")[-1]["top_k"] == 9
        assert server.bodies("/tokenize")[-1] == {
            "content": "<user>hello",
            "add_special": True,
            "parse_special": True,
        }


async def test_vllm_tells_its_context_and_counts_by_its_tokenizer(server):
    server.models = listing(MODEL, max_model_len=1_024)
    server.own["/version"] = saying({"version": "0.9"})
    server.own["/tokenize"] = saying({"count": 4, "tokens": [1, 2, 3, 4]})
    server.chat = sending(chunk("One", usage={"completion_tokens": 1, "prompt_tokens": 4}), STOP, usage(1, 4), DONE)
    async with engine_for(server, context_length=4_096) as engine:
        assert (await engine.info()).context_length == 1_024
        assert await engine.count(HELLO) == 4
        await answer(engine, ask(sampling=Sampling(top_k=0, repeat_penalty=1.1)))
        asked = server.bodies("/v1/chat/completions")[-1]
        assert (asked["top_k"], asked["repetition_penalty"]) == (-1, 1.1)
        assert asked["stream_options"]["continuous_usage_stats"]


async def test_ollama_and_tgi_are_known_by_their_own_pages(server):
    server.own["/api/version"] = saying({"version": "0.12"})
    server.own["/api/ps"] = saying({"models": [{"name": f"{MODEL}:latest", "model": MODEL, "context_length": 777}]})
    async with engine_for(server) as engine:
        info = await engine.info()
        assert (info.engine_build, info.context_length) == ("upstream ollama 0.12", 777)
    server.own = {"/info": saying({"model_id": "m", "max_total_tokens": 888, "max_concurrent_requests": 2})}
    async with engine_for(server) as engine:
        info = await engine.info()
        assert (info.engine_build, info.context_length, info.slots) == ("upstream tgi", 888, 2)
        await answer(engine, ask(sampling=Sampling(top_p=1.0)))
        assert "top_p" not in server.bodies("/v1/chat/completions")[-1]


async def test_a_count_that_fails_falls_back_to_asking_for_one_token(server):
    server.own["/props"] = saying({"default_generation_settings": {"n_ctx": 512}})
    async with engine_for(server) as engine:
        assert await engine.count(HELLO) == 7


async def test_a_server_that_counted_more_than_it_used_is_not_asked_in_that_way_again(server):
    server.own["/version"] = saying({"version": "0.9"})
    server.own["/tokenize"] = saying({"count": 9})
    server.chat = sending(chunk("One"), STOP, usage(1, prompt=7), DONE)
    async with engine_for(server) as engine:
        assert await engine.count(HELLO) == 7


async def test_a_conversation_is_counted_once_for_its_quote_and_its_answer(server):
    async with engine_for(server) as engine:
        before = len(server.asked)
        await engine.count(HELLO)
        await answer(engine, ask("hello"))
        assert len(server.asked) - before == 2


async def test_a_server_that_serves_one_at_a_time_is_never_asked_two_things_at_once(server):
    server.own["/extras/tokenize/count"] = saying({"count": 1})
    states = States()
    async with engine_for(server, on_state=states) as engine:
        assert (await engine.info()).slots == 1
        server.chat, _, _ = hanging(chunk("One"))
        stream = engine.generate(ask())
        await anext(stream)
        await anext(stream)
        asked = len(server.asked)
        waiting = asyncio.create_task(engine.count((ChatMessage("user", "another"),)))
        await asyncio.sleep(0.1)  # several looks of the watcher long
        assert len(server.asked) == asked
        assert not waiting.done()
        await stream.aclose()
        assert await waiting == 7


# Starting


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
