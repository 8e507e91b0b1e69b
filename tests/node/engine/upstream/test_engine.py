"""The upstream engine against a server that misbehaves in every way a server can, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from node.engine.protocol import Chunk, Finished, Started
from node.engine.upstream import sse
from node.engine.upstream.dialect import model_id
from node.engine.upstream.engine import UNKNOWN_CONTEXT, UpstreamEngine
from node.values.inference import Sampling
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import States, engine_for, failure, hanging
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    STOP,
    chunk,
    cutting,
    event,
    listing,
    refusing,
    saying,
    sending,
    speaking,
)
from tests.patience import PATIENCE_S


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
        async with asyncio.timeout(PATIENCE_S):
            while engine.state.name != "ready":
                await asyncio.sleep(0.01)
        assert (await answer(engine, ask()))[0] == "fine"


async def test_a_stream_that_only_keeps_its_connection_alive_is_given_up(server):
    async def pinging(request: web.Request, body) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("One"))
        while True:
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.02)

    async with engine_for(server, stall_s=0.3) as engine:
        server.chat = pinging
        error = await failure(engine)
    assert error.code == "engine_stalled"


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
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()


async def test_a_reader_that_leaves_ends_the_upstreams_work(server):
    async with engine_for(server) as engine:
        server.chat, _, gone = hanging(chunk("One"))
        stream = engine.generate(ask())
        assert isinstance(await anext(stream), Started)
        assert isinstance(await anext(stream), Chunk)
        await stream.aclose()
        async with asyncio.timeout(PATIENCE_S):
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
    async with asyncio.timeout(PATIENCE_S):
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
