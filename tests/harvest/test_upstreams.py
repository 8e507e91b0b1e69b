"""What servers behind a node do, and what happened to people because of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.upstream.answers import read_models
from node.engine.upstream.chunks import Piece
from node.engine.upstream.dialect import model_id
from node.engine.upstream.engine import UpstreamEngine
from node.engine.upstream.piece_reader import PieceReader
from node.values.public import public_name, public_words
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import States, engine_for
from tests.node.engine.upstream.hostile import (
    MODEL,
    Upstream,
    chunk,
    event,
    refusing,
    saying,
    sending,
    speaking,
)
from tests.patience import PATIENCE_S


def read(*parts: bytes) -> list[Piece]:
    reader = PieceReader()
    return [piece for part in (*parts, None) for piece in reader.read(part)]


# Whole answers


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"id": MODEL}]},
        {"models": [{"name": MODEL, "model": MODEL}]},
        {"object": "list", "data": None, "models": [{"model": MODEL}]},
        [{"id": MODEL}],
        {"data": [None, 7, {}, {"id": 3}, {"id": MODEL, "created": 1.5, "max_model_len": "many"}]},
        {"data": [MODEL]},
    ],
)
def test_a_list_of_models_in_any_of_its_forms_is_one(body):
    """The server could not be used, because one entry was odd or the list had another name."""
    assert read_models(json.dumps(body).encode()).names == (MODEL,)


def test_a_server_without_any_model_has_an_empty_list():
    """Ollama lists ``null``, and the person was told that the server is broken."""
    assert read_models(b'{"object":"list","data":null}').names == ()


async def test_a_model_that_is_listed_with_its_default_tag_is_found_without_it(server):
    """Ollama serves ``llama3`` and lists ``llama3:latest``: the model was said to be missing."""
    server.models = saying({"data": [{"id": f"{MODEL}:latest"}]})
    async with engine_for(server) as engine:
        assert (await answer(engine, ask()))[0] == "One two three"


# Names


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("/home/joe/models/Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M"),
        ("/home/joe/models/big-00001-of-00003.gguf", "big"),
        (r"C:\Users\joe\models\big.GGUF", "big"),
        (r"\\server\share\big.gguf", "big"),
        ("models/big.gguf", "big"),
        ("~/big.gguf", "big"),
        ("../big/", "big"),
        ("file:///home/joe/big.gguf", "big"),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/0123abcd", "Qwen/Qwen3-8B"),
        ("/data/Qwen3-8B", "Qwen3-8B"),
        ("/", "model"),
        ("", "model"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("hf.co/bartowski/Foo-GGUF:Q4_K_M", "hf.co/bartowski/Foo-GGUF:Q4_K_M"),
        ("qwen3:8b", "qwen3:8b"),
    ],
)
def test_a_public_name_is_no_path_of_this_machine(name, public):
    """Everybody could read a person's name and folders (unslothai/unsloth#6518, simonw/llm-llama-server#2)."""
    assert public_name(name) == public


@given(
    folders=st.lists(st.text("abcXYZ -_.", min_size=1, max_size=8), min_size=1, max_size=5),
    file=st.text("ab1", min_size=1),
)
@settings(max_examples=80)
def test_no_folder_is_part_of_a_public_name(folders, file):
    """Everybody could read a person's folders."""
    for separator in "/\\":
        path = separator.join(["", *(f"{folder}X" for folder in folders), f"{file}.gguf"])
        assert public_name(path) == file


async def test_a_server_that_names_its_models_by_path_is_rented_out_under_a_public_name(server):
    """llama-server without an alias lists its file's path, and the offer would have shown it to all."""
    path = "/home/joe/models/big.gguf"
    server.models = saying({"data": [{"id": path}]})
    async with UpstreamEngine(server.url, path) as engine:
        info = await engine.info()
        assert (info.model_name, info.model_sha256) == ("big", model_id("big"))
        await answer(engine, ask())
    async with UpstreamEngine(server.url, path, name="my-model") as engine:
        assert (await engine.info()).model_name == "my-model"
    assert {body["model"] for body in server.bodies("/v1/chat/completions")} == {path}


@pytest.mark.parametrize(
    "words",
    [
        "Free some space on the disk that holds /home/joe/iw/node.db.",
        r"See C:\iw\log",
        "Its log is '~/iw/engine.log'.",
        "/x/y",
    ],
)
def test_an_errors_words_for_a_buyer_name_no_file(words):
    """A buyer was told where the provider's files are, since errors are written for their owner."""
    assert public_words(words, "Choose another offer.") == "Choose another offer."
    assert public_words("Try again in 3 s, at 5 tokens/s and/or later.", "") != ""


# Buyers that are gone


class Endless:
    """A server that writes a token each millisecond for as long as somebody is there."""

    def __init__(self) -> None:
        self.written = 0
        self.gone = asyncio.Event()

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(chunk(" word"))
                self.written += 1
                await asyncio.sleep(0.001)
        except (ConnectionError, asyncio.CancelledError):
            self.gone.set()
        return response


async def test_an_answer_that_nobody_takes_ends_the_servers_work(server):
    """A GPU wrote the rest of each answer for people who had left (ggml-org/llama.cpp#24496)."""
    async with engine_for(server, untaken_s=0.2) as engine:
        server.chat = endless = Endless()
        stream = engine.generate(ask(max_tokens=100_000))
        for _ in range(3):
            await anext(stream)
        async with asyncio.timeout(PATIENCE_S):
            await endless.gone.wait()
        with pytest.raises(EngineError, match="not taken") as raised:
            async for _ in stream:
                pass
        assert raised.value.code == "unpaid"
        assert engine.state.name == "ready"


async def test_an_answer_that_is_taken_slowly_goes_on(server):
    """Whoever had a slow line lost the answer."""
    async with engine_for(server, untaken_s=1.5) as engine:
        server.chat = speaking(*(f" {n}" for n in range(8)))
        said = ""
        async for one in engine.generate(ask()):
            await asyncio.sleep(0.2)
            said += getattr(one, "text", "")
    assert said == "".join(f" {n}" for n in range(8))


# Servers that still load


def becoming(server: Upstream, times: int, refuses: Any, **fields: Any) -> None:
    """Let these answers of the server be refused for so many times."""
    left = times

    def first_refusing(then: Any) -> Any:
        async def handler(request: web.Request, body: Any) -> web.StreamResponse:
            nonlocal left
            if left > 0:
                left -= 1
                return await refuses(request, body)
            return await then(request, body)

        return handler

    for name, then in fields.items():
        setattr(server, name, first_refusing(then))


@pytest.mark.parametrize(
    ("field", "refuses"),
    [
        ("models", refusing(503, "Loading model")),
        ("one_token", refusing(503, "Loading model")),
        ("one_token", refusing(500, "unexpected server status: llm server loading model")),
        ("one_token", refusing(502, "bad gateway")),
        ("chat", refusing(503, "Loading model")),
        ("chat", sending(event({"error": {"message": "Loading model", "code": 503}}))),
        ("models", refusing(503, "busy", **{"Retry-After": "0.01"})),
    ],
)
async def test_a_server_that_still_loads_is_waited_for_and_said_so(server, field, refuses):
    """It had to be started again and again until it was ready (containers/ramalama#2343, earendil-works/pi#1887)."""
    becoming(server, 3, refuses, **{field: getattr(server, field)})
    states = States()
    async with engine_for(server, on_state=states, load_wait_s=PATIENCE_S) as engine:
        assert (await answer(engine, ask()))[0] == "One two three"
    waiting, ready = [state for state in states.seen if state.why or state.name == "ready"][:2]
    assert (waiting.name, ready.name) == ("starting", "ready")
    assert "It is waited for." in waiting.why


async def test_a_server_that_never_gets_ready_is_waited_for_no_longer_than_allowed(server):
    """A start hung for ever."""
    server.models = refusing(503, "Loading model")
    engine = engine_for(server, load_wait_s=0.05)
    with pytest.raises(EngineError, match="503") as raised:
        await engine.start()
    assert raised.value.code == "engine_unavailable"
    assert len(server.asked) > 1


async def test_a_first_answer_may_take_as_long_as_a_model_takes_to_load(server):
    """A server that loads at the first question was given up after a minute (567-labs/instructor#1597)."""
    then = server.one_token

    async def slow(request: web.Request, body: Any) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        server.one_token = then
        return await then(request, body)

    server.one_token = slow
    async with engine_for(server, load_wait_s=PATIENCE_S, count_s=0.2) as engine:
        assert engine.state.name == "ready"
