"""Which server stands behind an engine, and how each kind counts tokens and tells its limits; over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from node.engine.protocol import EngineError
from node.values.inference import ChatMessage, Sampling, TemplateOptions
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import HELLO, States, engine_for, hanging
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    STOP,
    chunk,
    listing,
    saying,
    sending,
    usage,
)


async def test_a_llama_server_tells_its_context_and_slots_and_counts_by_its_template(server):
    server.own["/props"] = saying({"default_generation_settings": {"n_ctx": 512}, "total_slots": 2, "build_info": "b9"})
    server.own["/apply-template"] = saying({"prompt": "<user>hello"})
    server.own["/tokenize"] = saying({"tokens": [1, 2, 3]})
    server.chat = sending(chunk("One", timings={"predicted_n": 1}), chunk(finish="stop"), usage(1, prompt=3), DONE)
    async with engine_for(server, slots=8) as engine:
        info = await engine.info()
        assert (info.context_length, info.slots, info.engine_build) == (512, 2, "upstream llama-server b9")
        assert info.template_tokens == 3, "what a short question came to"
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


NO_THINKING = TemplateOptions(enable_thinking=False)


async def test_a_llama_server_is_told_the_templates_options_where_it_counts_and_where_it_answers(server):
    server.own["/props"] = saying({"default_generation_settings": {"n_ctx": 512}, "total_slots": 2, "build_info": "b9"})
    server.own["/apply-template"] = saying({"prompt": "<user>hello"})
    server.own["/tokenize"] = saying({"tokens": [1, 2, 3]})
    server.chat = sending(chunk("One", timings={"predicted_n": 1}), chunk(finish="stop"), usage(1, prompt=3), DONE)
    async with engine_for(server) as engine:
        assert (await engine.info()).abilities == ("chat", "turns", "system", "enable_thinking", "reasoning_effort")
        await answer(engine, ask(template_options=NO_THINKING))
        await answer(engine, ask())
        asked = [body.get("chat_template_kwargs") for body in server.bodies("/v1/chat/completions")[-2:]]
        assert asked == [{"enable_thinking": False}, None]
        counted = [body.get("chat_template_kwargs") for body in server.bodies("/apply-template")]
        assert {"enable_thinking": False} in counted
        assert None in counted


async def test_other_servers_are_told_the_effort_as_openai_has_it_and_nothing_that_they_would_pass_over(server):
    async with engine_for(server) as engine:
        assert (await engine.info()).abilities == ("chat", "turns", "system", "reasoning_effort")
        await answer(engine, ask(template_options=TemplateOptions(reasoning_effort="low")))
        assert server.bodies("/v1/chat/completions")[-1]["reasoning_effort"] == "low"
        with pytest.raises(EngineError, match="can't be told enable_thinking") as error:
            await answer(engine, ask(template_options=NO_THINKING))
        assert error.value.code == "bad_request"
