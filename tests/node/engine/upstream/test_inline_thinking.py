"""Servers that leave a model's thinking in the text of its answer."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import Chunk
from node.engine.upstream.chunks import Piece
from node.engine.upstream.inline_thinking import ChunkMaker, opened_pair
from node.values.inference import JsonObject, TokenLogprob
from tests.node.engine.helpers import ask
from tests.node.engine.upstream.engines import engine_for
from tests.node.engine.upstream.hostile import speaking


def told(chunks: list[Chunk]) -> tuple[str, str]:
    """Thinking and answer."""
    return (
        "".join(one.text for one in chunks if one.thinking and not one.marker),
        "".join(one.text for one in chunks if not one.thinking),
    )


async def chunks_of(server: Any, *texts: str, **asked: Any) -> list[Chunk]:
    server.chat = speaking(*texts)
    async with engine_for(server) as engine:
        return [event async for event in engine.generate(ask(**asked)) if isinstance(event, Chunk)]


@pytest.mark.parametrize(
    ("texts", "thought", "answer"),
    [
        (("<th", "ink>\n", "Hm", ".\n</think", ">\n\n", "Four."), "Hm.", "Four."),
        (("[THINK]", "Hm.", "[/THINK]", "Four."), "Hm.", "Four."),
        (("<seed:think>Hm.</seed:think>Four.",), "Hm.", "Four."),
        (
            ("<|channel|>", "analysis<|message|>Hm.<|end|><|start|>assistant", "<|channel|>final<|message|>", "Four."),
            "Hm.",
            "Four.",
        ),
        (("<|channel|>final<|message|>Four.",), "", "Four."),
        (("<|channel>thought\nHm.\n<channel|>", "Four."), "Hm.", "Four."),
        (("<|think|>Hm.<|end|><|begin|>assistant<|content|>", "Four."), "Hm.", "Four."),
        (("<", "b>Four.</b>"), "", "<b>Four.</b>"),
        (("<thinking>as it was asked to</thinking>Four.",), "", "<thinking>as it was asked to</thinking>Four."),
        (("Four <think> is a tag</think>.",), "", "Four <think> is a tag</think>."),
        (("<think>", "Hm."), "Hm.", ""),
        (("<th",), "", "<th"),
    ],
)
async def test_thinking_in_the_text_is_told_from_the_answer(server, texts, thought, answer):
    chunks = await chunks_of(server, *texts)
    assert told(chunks) == (thought, answer)
    assert "".join(one.text for one in chunks) == "".join(texts)
    assert sum(one.tokens for one in chunks) == len(texts)


async def test_a_server_that_was_seen_to_open_thinking_in_the_prompt_is_read_from_inside_it(server):
    # It answers the trial in the same way as the buyer.
    chunks = await chunks_of(server, "One after", " the other.\n", "</think>", "\n\nOne, two.")
    assert told(chunks) == ("One after the other.", "One, two.")


async def test_an_answer_in_a_format_has_no_thinking_before_it(server):
    plain, in_json = speaking("Hm.", "</think>", "Four."), speaking('{"sum": ', "4}")

    async def answering(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await (in_json if "response_format" in body else plain)(request, body)

    server.chat = answering
    async with engine_for(server) as engine:
        events = [event async for event in engine.generate(ask(response_format=JsonObject()))]
    assert told([event for event in events if isinstance(event, Chunk)]) == ("", '{"sum": 4}')


async def test_a_server_that_tells_thinking_apart_may_write_of_tags(server):
    maker = ChunkMaker()
    chunks = maker.take(Piece(thinking="Hm."), 1, ()) + maker.take(Piece(text="<think> opens it."), 4, ())
    assert told(chunks + maker.finish()) == ("Hm.", "<think> opens it.")


def test_only_a_tag_that_nobody_opened_shows_that_the_prompt_opens_it():
    assert opened_pair("Hm.</think>Four.") == ("<think>", "</think>")
    assert opened_pair("<think>Hm.</think>Four.") is None
    assert opened_pair("Four.") is None


ONE = TokenLogprob(1, b"x", -0.5, ())
PIECES = st.lists(
    st.tuples(st.sampled_from(["<think>", "</think>", "<th", "ink>", " ", "a", "", "\n"]), st.integers(0, 3)),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(PIECES, st.sampled_from([None, ("<think>", "</think>")]))
def test_no_text_token_or_log_probability_is_lost(pieces, opened):
    maker, chunks = ChunkMaker(opened), list[Chunk]()
    for text, tokens in pieces:
        chunks += maker.take(Piece(text=text), tokens, (ONE,) if text else ())
    chunks += maker.finish()
    assert "".join(one.text for one in chunks) == "".join(text for text, _ in pieces)
    assert sum(one.tokens for one in chunks) == sum(tokens for _, tokens in pieces)
    assert sum(len(one.logprobs) for one in chunks) == sum(bool(text) for text, _ in pieces)
