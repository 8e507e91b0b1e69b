"""Servers that take less of a prompt than they say, and what happened to people because of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError, Started
from node.engine.upstream import plausibility
from node.engine.upstream.engine import UNKNOWN_CONTEXT
from node.models.catalog import DEMO_PATH
from node.values.inference import ChatMessage
from tests.harvest.forgetful import Forgetful
from tests.node.engine.helpers import answer, ask, engine_of
from tests.node.engine.upstream.able import PAGES
from tests.node.engine.upstream.engines import States, engine_for, failure
from tests.node.engine.upstream.hostile import DONE, MODEL, STOP, Upstream, chunk, saying, sending, upstream
from tests.patience import PATIENCE_S

WORDS = "The river runs past the old mill and nobody knows why it is so quiet there today. "


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


def user(text: str) -> tuple[ChatMessage, ...]:
    return (ChatMessage("user", text),)


@pytest.mark.parametrize("way", ["counts the rest", "counts all", "answers nothing", "refuses"])
async def test_a_server_that_holds_less_than_it_says_is_offered_with_what_it_holds(server, way):
    """20,000 words were read as 2,050 tokens, and nobody was told (ollama/ollama#4967, lmstudio-bug-tracker#2339)."""
    server.own = PAGES["ollama"]
    forgetful = Forgetful(server, context=2_000)
    forgetful.way = way
    async with engine_for(server, context_length=8_192) as engine:
        info = await engine.info()
        assert 1_500 < info.context_length <= 2_000
        assert "OLLAMA_CONTEXT_LENGTH" in engine.state.why
        assert f"from 8192 to {info.context_length}" in engine.state.why
        assert (await answer(engine, ask(WORDS * 20)))[0] == "One two"
        with pytest.raises(EngineError):
            await answer(engine, ask(WORDS * 150))


async def test_a_server_that_holds_what_it_says_is_offered_with_all_of_it(server):
    """A check that accuses the honest would cost their owners their buyers."""
    server.own = PAGES["ollama"]
    Forgetful(server, context=9_000)
    async with engine_for(server, context_length=8_192) as engine:
        assert (await engine.info()).context_length == 8_192
        assert engine.state.why == ""
        assert (await answer(engine, ask(WORDS * 350)))[1].input_tokens == len(WORDS * 350) // 4


async def test_a_model_that_can_not_say_what_it_read_is_not_condemned(server):
    """A tiny model would have been refused for being stupid."""
    forgetful = Forgetful(server, context=9_000)
    forgetful.remembers = False
    async with engine_for(server, context_length=8_192) as engine:
        assert (await engine.info()).context_length == 8_192


async def test_a_model_that_forgets_behind_a_server_that_refuses_is_not_condemned(server):
    """A weak model would have lost its context, though its server is known to refuse what is too long."""
    server.own = PAGES["vllm"]
    forgetful = Forgetful(server, context=2_000)
    forgetful.way = "counts all"
    async with engine_for(server, context_length=8_192) as engine:
        assert (await engine.info()).context_length == 8_192


async def test_a_longer_context_than_is_tried_is_believed(server):
    """Each start would have cost minutes of work for a context of 128 thousand tokens."""
    forgetful = Forgetful(server, context=1 << 20)
    async with engine_for(server, context_length=131_072, trial_tokens=2_000) as engine:
        assert (await engine.info()).context_length == 131_072
    assert max(len(prompt) for prompt in forgetful.prompts) // 4 <= 2_000


async def test_a_server_whose_count_does_not_grow_is_refused(server):
    """Every prompt was billed as the same few tokens."""
    counts = {"prompt_tokens": 7, "completion_tokens": 1}
    server.one_token = saying({"choices": [{"message": {"content": "x"}}], "usage": counts})
    with pytest.raises(EngineError, match="counts 7 tokens") as raised:
        await engine_for(server).start()
    assert raised.value.code == "upstream_unusable"


async def test_a_slow_server_is_not_tried_for_longer_than_allowed(server):
    """A start took minutes."""

    async def never(request: web.Request, body: Any) -> web.StreamResponse:
        if len(body["messages"][0]["content"]) > 200:
            await asyncio.sleep(60)
        return await counting(request, body)

    counting, server.one_token = server.one_token, never
    async with engine_for(server, trial_s=0.1) as engine:
        assert (await engine.info()).context_length == UNKNOWN_CONTEXT


async def test_a_prompt_that_is_cut_while_serving_is_refused_and_the_context_looked_at_again(server):
    """Ollama loaded the model again with a shorter context: answers were about half of the question."""
    server.own = PAGES["ollama"]
    forgetful = Forgetful(server, context=9_000)
    states = States()
    async with engine_for(server, context_length=8_192, on_state=states) as engine:
        forgetful.context = 2_000
        before = len(forgetful.prompts)
        error = await failure(engine, text=WORDS * 200)
        assert (error.code, error.message) == (
            "context_too_long", "The provider's server leaves out a part of this conversation.",
        )  # fmt: skip
        assert all(len(prompt) <= len(WORDS * 200) for prompt in forgetful.prompts[before:]), "no answer was begun"
        async with asyncio.timeout(PATIENCE_S):
            while (await engine.info()).context_length > 2_000:
                await asyncio.sleep(0.01)
        assert (await answer(engine, ask(WORDS * 20)))[0] == "One two"
    assert any("The context is cut" in state.why for state in states.seen)


async def test_a_server_that_owns_up_to_a_cut_prompt_at_once_is_not_paid_for_the_rest(server):
    """The whole prompt was billed, though the server said with its first word that it had read less."""
    server.own = PAGES["vllm"] | {"/tokenize": saying({"count": 900})}
    server.chat = sending(chunk("One", usage={"prompt_tokens": 900, "completion_tokens": 1}), STOP, DONE)
    async with engine_for(server, context_length=2_000) as engine:
        server.chat = sending(chunk("One", usage={"prompt_tokens": 450, "completion_tokens": 1}), STOP, DONE)
        stream = engine.generate(ask(WORDS * 40))
        assert isinstance(await anext(stream), Started)
        with pytest.raises(EngineError, match="leaves out a part"):
            await anext(stream)


async def test_oldest_messages_that_are_dropped_are_missed(server):
    """The system message and the first turns were gone, and the model spoke of something else."""
    server.own = PAGES["ollama"]
    forgetful = Forgetful(server, context=4_000)
    async with engine_for(server, context_length=4_000) as engine:
        forgetful.context = 1_500
        turns = tuple(ChatMessage("assistant" if n % 2 else "user", WORDS * 20) for n in range(8))
        with pytest.raises(EngineError, match="leaves out a part"):
            await engine.count((ChatMessage("system", WORDS), *turns, ChatMessage("user", "And now?")))


async def test_thinking_of_earlier_turns_that_a_template_leaves_out_is_not_missed(server):
    """Qwen3's template drops what was thought before: an honest server was accused of dropping it."""
    whole = server.one_token

    async def dropping(request: web.Request, body: Any) -> web.StreamResponse:
        for message in body["messages"]:
            message["content"] = message["content"].split("</think>")[-1]
        return await whole(request, body)

    server.one_token = dropping
    turns = (ChatMessage("user", "Hi"), ChatMessage("assistant", f"<think>{WORDS * 40}</think>Hello"))
    async with engine_for(server) as engine:
        assert await engine.count((*turns, ChatMessage("user", "Bye"))) < 100


async def test_a_context_that_is_told_only_once_the_model_is_loaded_is_read_then(server):
    """Ollama and LM Studio load at the first question: a context of 8,192 was offered as 2,048."""
    Forgetful(server, context=9_000)
    running: dict[str, Any] = {"models": []}

    async def ps(request: web.Request, body: Any) -> web.StreamResponse:
        if server.bodies("/v1/chat/completions"):
            running["models"] = [{"name": MODEL, "model": MODEL, "context_length": 4_096}]
        return web.json_response(running)

    server.own = PAGES["ollama"] | {"/api/ps": ps}
    async with engine_for(server) as engine:
        assert (await engine.info()).context_length == 4_096


async def test_the_context_that_lm_studio_loaded_a_model_with_is_read(server):
    """Clients packed prompts for a context that was not there (odysseus-dev/odysseus#3535)."""
    Forgetful(server, context=9_000)
    listed = {"data": [{"id": MODEL, "state": "loaded", "max_context_length": 131_072, "loaded_context_length": 4_096}]}
    server.own = {"/api/v0/models": saying(listed)}
    async with engine_for(server) as engine:
        info = await engine.info()
        assert (info.context_length, info.engine_build) == (4_096, "upstream lm-studio")


# The check itself

ODD_TEXTS = {
    "spaces": " " * 20_000,
    "one letter": "a" * 20_000,
    "rules": ("=" * 80 + "\n") * 200,
    "code": "def f(x):\n        return x ** 2  # square\n\n" * 200,
    "chinese": "河水流过古老的磨坊，没有人知道今天为什么如此安静。" * 200,
    "thai": "แม่น้ำไหลผ่านโรงสีเก่าและไม่มีใครรู้ว่าทำไมวันนี้จึงเงียบ" * 100,
    "emoji": "👨\u200d👩\u200d👧🏳️\u200d🌈" * 400,
    "base64": "VGhlIHJpdmVyIHJ1bnMgcGFzdCB0aGUgb2xkIG1pbGwg" * 300,
    "a long word": "translatesAutoresizingMaskIntoConstraints " * 400,
}


async def test_no_honest_count_of_any_text_is_called_a_cut_one(tmp_path):
    """A count by bytes alone accuses whoever sends spaces, rules or Chinese."""
    async with engine_of(DEMO_PATH, tmp_path / "engine.log") as engine:
        for name, text in ODD_TEXTS.items():
            conversation = user(text[:6_000])
            first, second = plausibility.halves(conversation)
            whole, *parts = [await engine.count(each) for each in (conversation, (first,), (second,))]
            assert not plausibility.is_cut(whole, *parts), name


@given(tokens=st.integers(500, 1 << 20), limit=st.integers(200, 1 << 20), kept=st.sampled_from([1.0, 0.5, 0.75]))
@settings(max_examples=200)
def test_whatever_a_server_keeps_of_what_is_too_long_the_halves_tell(tokens, limit, kept):
    """A server that keeps nearly all of its context's worth was believed."""

    def counted(length: int) -> int:
        return length if length <= limit else int(limit * kept)

    whole, first, second = counted(tokens), counted(tokens // 2), counted(tokens - tokens // 2)
    if tokens <= limit:
        assert not plausibility.is_cut(whole, first, second)
    elif tokens > 1.3 * limit and limit > 1_000:
        assert plausibility.is_cut(whole, first, second)


@pytest.mark.parametrize("counted", [100, 2_050])
def test_a_count_far_below_the_texts_length_is_doubted(counted):
    """20,000 words were read as 2,050 tokens (ollama/ollama#4967)."""
    assert plausibility.is_dense(plausibility.kept_chars(user(WORDS * 1_200)), counted)


def test_runs_of_one_character_are_not_doubted():
    """One token may be 512 spaces."""
    assert not plausibility.is_dense(plausibility.kept_chars(user(" " * 100_000 + "=" * 100_000)), 400)
