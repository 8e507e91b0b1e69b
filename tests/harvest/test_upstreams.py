"""What servers behind a node do, and what happened to people because of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.upstream.answers import read_models
from node.engine.upstream.chunks import Piece, usage_of
from node.engine.upstream.dialect import model_id
from node.engine.upstream.engine import UpstreamEngine
from node.engine.upstream.piece_reader import PieceReader
from node.engine.upstream.refusals import UpstreamError
from node.values.public import public_name, public_words
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import States, engine_for, failure
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    STOP,
    Upstream,
    chunk,
    event,
    refusing,
    saying,
    sending,
    speaking,
    upstream,
    usage,
)
from tests.patience import PATIENCE_S


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


def read(*parts: bytes) -> list[Piece]:
    reader = PieceReader()
    return [piece for part in (*parts, None) for piece in reader.read(part)]


def spoken(*parts: bytes) -> str:
    return "".join(piece.text for piece in read(*parts))


def thought(*parts: bytes) -> str:
    return "".join(piece.thinking for piece in read(*parts))


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields}]})


# Where a stream ends


async def test_done_without_a_reason_is_a_whole_answer(server):
    """Every request failed as cut off, though all of it had come (anomalyco/opencode#43882)."""
    async with engine_for(server) as engine:
        server.chat = sending(chunk("One"), chunk(" two"), DONE)
        text, _, finished = await answer(engine, ask())
    assert (text, finished.reason) == ("One two", "stop")


async def test_done_without_a_reason_at_the_limit_is_an_answer_cut_by_the_limit(server):
    """An answer of exactly the limit's length looked finished."""
    async with engine_for(server) as engine:
        server.chat = sending(chunk("One"), chunk(" two"), DONE)
        _, _, finished = await answer(engine, ask(max_tokens=2))
    assert finished.reason == "length"


async def test_a_reason_without_done_is_a_whole_answer(server):
    """Clients hung or failed, because the server just closes the connection (ikawrakow/ik_llama.cpp#467)."""
    async with engine_for(server) as engine:
        server.chat = sending(chunk("One"), STOP)
        assert (await answer(engine, ask()))[0] == "One"


@pytest.mark.parametrize("reason", ["", "null", None, 0, {}])
def test_a_reason_that_says_nothing_ends_nothing(reason):
    """Clients stopped after the first word (ollama/ollama#4357, sgl-project/sglang#3912, PowerShell/AIShell#350)."""
    pieces = read(event({"choices": [{"delta": {"content": "a"}, "finish_reason": reason}]}), chunk("b"))
    assert [piece.finish_reason for piece in pieces] == [None, None, None]


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("LENGTH", "length"),
    ],
)
def test_a_servers_own_word_for_a_reason_is_read_as_what_it_means(reason, meant):
    """An answer that was cut at the limit was taken for a whole one."""
    assert read(chunk(finish=reason))[0].finish_reason == meant


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_an_answer_that_the_server_aborted_is_no_whole_answer(server, reason):
    """A half answer was billed and shown as a whole one."""
    async with engine_for(server) as engine:
        server.chat = sending(chunk("One"), chunk(finish=reason), DONE)
        assert (await failure(engine)).code == "engine_crashed"


def test_a_last_event_that_nothing_ends_is_read():
    """The last words of each answer were missing where a server closes the connection after one line end."""
    assert spoken(chunk("One"), chunk(" two").rstrip(b"\n")) == "One two"


# Events


def test_a_byte_order_mark_before_the_first_event_costs_nothing():
    """The first words of each answer were missing (openai/openai-python#3819, vm0-ai/vm0#24687)."""
    whole = b"\xef\xbb\xbf" + chunk("One") + chunk(" two")
    assert spoken(whole) == "One two"
    assert spoken(whole[:1], whole[1:2], whole[2:]) == "One two"


@pytest.mark.parametrize("gap", [b"\n", b"\r\n", b"\r"])
def test_events_with_one_line_end_between_them_are_events(gap):
    """All chunks of an answer were read as one broken event."""
    assert spoken(*(chunk(text).rstrip(b"\n") + gap for text in ("a", "b", "c"))) == "abc"


@pytest.mark.parametrize(
    "noise", [b": ping\n\n", b":\n\n", b"data:\n\n", b"data: \n\n", b"event: ping\n\n", b"retry: 3\n"]
)
def test_what_only_keeps_a_connection_alive_is_no_broken_event(noise):
    """Proxies' heartbeats ended the answer with a JSON error."""
    assert spoken(noise, chunk("One"), noise, chunk(" two"), noise) == "One two"


def test_a_line_of_json_without_its_fields_name_is_read():
    """The server's own reason was lost, since a proxy wrote it between the events."""
    with pytest.raises(UpstreamError) as raised:
        read(chunk("One"), b'{"error": {"message": "out of memory", "code": 429}}\n')
    assert raised.value.code == "engine_busy"


def test_a_pretty_printed_event_is_one_event():
    """A chunk over several lines, each with its ``data:``, was read as many broken ones."""
    lines = json.dumps({"choices": [{"delta": {"content": "One"}}]}, indent=1).splitlines()
    assert spoken(b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n") == "One"


async def test_a_stream_with_the_wrong_type_is_a_stream(server):
    """Clients tried to read the events as one JSON value (BerriAI/litellm#4429)."""
    async with engine_for(server) as engine:
        for kind in ("application/json", "text/plain", "application/octet-stream"):
            server.chat = sending(b": hello\n\n", chunk("One"), STOP, DONE, content_type=kind)
            assert (await answer(engine, ask()))[0] == "One"


async def test_a_server_that_compresses_unasked_is_read(server):
    """A proxy compressed all it passed on, though it was asked not to."""

    async def squeezing(request: web.Request, body: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})
        await response.prepare(request)
        await response.write(gzip.compress(chunk("One") + STOP + DONE))
        return response

    async with engine_for(server) as engine:
        server.chat = squeezing
        assert (await answer(engine, ask()))[0] == "One"


async def test_a_compressed_body_that_unpacks_to_a_huge_one_is_refused(server):
    """A few kilobytes filled the memory."""
    bomb = gzip.compress(b"data: " + b"x" * (64 << 20))
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}

    async def bombing(request: web.Request, body: Any) -> web.StreamResponse:
        return web.Response(body=bomb, headers=headers)

    async with engine_for(server) as engine:
        server.chat = bombing
        assert (await failure(engine)).code == "engine_crashed"


# Characters


@pytest.mark.parametrize("text", ["👍", "𝒳", "👨\u200d👩\u200d👧"])
def test_halves_of_a_character_in_two_events_are_one_character(text):
    """Each emoji became two replacement characters (elizaOS/eliza#30904, elie222/rakazo#416)."""
    halves = json.dumps(text)[1:-1].split("\\u")[1:]
    events = [b'data: {"choices":[{"delta":{"content":"\\u' + half.encode() + b'"}}]}\n\n' for half in halves]
    assert spoken(*events) == text
    events = [e.replace(b'"content"', b'"reasoning"') for e in events]
    assert thought(*events) == text


@given(text=st.text(max_size=6), cut=st.integers(0, 24))
@settings(max_examples=60)
def test_bytes_of_a_character_in_two_events_are_one_character(text, cut):
    """Chinese text had replacement characters wherever a token ended inside a character (Luce-Org/lucebox#641)."""
    raw = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
    cut %= len(raw) + 1
    if b"\\" in raw:
        return
    parts = [b'data: {"choices":[{"delta":{"content":"' + part + b'"}}]}\n\n' for part in (raw[:cut], raw[cut:])]
    assert spoken(*parts) == raw.decode()


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\udc4d", b"\xf0\x9f", b"\x8d"])
def test_half_a_character_that_stays_alone_becomes_one_that_can_be_sent(half):
    """A lone half ended the answer with an encoding error, or could not be stored (elie222/rakazo#416)."""
    said = spoken(b'data: {"choices":[{"delta":{"content":"a' + half + b'"}}]}\n\n', chunk("b"))
    assert said.encode().decode() == said
    assert said.startswith("a\ufffd")
    assert said.endswith("b")


def test_a_raw_control_character_inside_a_text_is_that_character():
    """A tab that the server did not escape ended the answer."""
    assert spoken(b'data: {"choices":[{"delta":{"content":"a\tb\x01"}}]}\n\n') == "a\tb\x01"


# Fields


@pytest.mark.parametrize("choices", [None, [], {}, [None], "none", 3])
def test_an_event_without_choices_says_nothing_and_ends_nothing(choices):
    """The client crashed in the middle of an answer (pydantic/pydantic-ai#5165, langfuse/langfuse#6658)."""
    assert spoken(chunk("One"), event({"choices": choices}), chunk(" two")) == "One two"


@pytest.mark.parametrize(
    "fields", [{"delta": None}, {"delta": []}, {}, {"delta": {"content": None}}, {"delta": {"role": "x"}}]
)
def test_a_choice_without_a_text_says_nothing_and_ends_nothing(fields):
    """The client crashed in the middle of an answer."""
    assert spoken(chunk("One"), event({"choices": [fields]}), chunk(" two")) == "One two"


def test_content_in_parts_is_its_text_and_its_thinking():
    """The stream crashed, or showed thinking as the answer (symfony/ai#2422, simonw/llm-mistral#39)."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}]},
        {"type": "text", "text": "4"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "output_text", "text": "2"},
        "!",
        7,
    ]
    pieces = read(delta(content=parts))
    assert (pieces[0].thinking, pieces[0].text) == ("Let me see.", "42!")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking", "reasoning_text"])
def test_thinking_by_any_of_its_names_is_thinking(name):
    """Thinking was lost, or a model seemed to be silent for minutes."""
    assert thought(delta(**{name: "hm"}), delta(**{name: [{"type": "text", "text": "m"}]})) == "hmm"


def test_thinking_that_is_told_twice_is_thought_once():
    """Servers in transition send both names, and gateways the details too: all was shown two or three times."""
    details = [{"type": "reasoning.text", "text": "hm"}]
    assert thought(delta(reasoning="hm", reasoning_content="hm", reasoning_details=details)) == "hm"
    assert thought(delta(reasoning_details=details)) == "hm"


def test_a_refusal_is_what_the_model_said():
    """An answer that only refuses came out empty, and was billed."""
    assert spoken(delta(content=None, refusal="I can't.")) == "I can't."


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        (12, 12),
        (12.0, 12),
        ("12", 12),
        (0, 0),
        (12.5, None),
        (-1, None),
        (True, None),
        ([], None),
        (1e300, None),
        ("1" * 99, None),
    ],
)
def test_a_count_is_a_count_however_it_is_written(stated, meant):
    """The answer failed at its last event (philschmid/easyllm#40, BoundaryML/baml#1746)."""
    assert usage_of({"usage": {"prompt_tokens": stated, "completion_tokens": 3}}).prompt_tokens == meant


def test_a_number_of_thousands_of_digits_costs_its_field():
    """Python refuses to read such a number: one field ended the stream."""
    assert spoken(b'data: {"choices":[{"delta":{"content":"a"}}],"created":' + b"9" * 5_000 + b"}\n\n") == "a"


def test_usage_inside_a_choice_is_usage():
    """An owner was paid by guesses (earendil-works/pi#2017)."""
    counts = {"prompt_tokens": 9, "completion_tokens": 5}
    piece = read(event({"choices": [{"delta": {}, "finish_reason": "stop", "usage": counts}]}))[0]
    assert (piece.prompt_tokens, piece.completion_tokens) == (9, 5)


async def test_usage_of_nothing_is_no_usage(server):
    """Answers seemed to have cost no token (ollama/ollama#13371)."""
    async with engine_for(server) as engine:
        server.chat = sending(chunk("One"), chunk(" two"), STOP, usage(0, prompt=0), DONE)
        _, started, finished = await answer(engine, ask())
        assert (started.input_tokens, finished.output_tokens) == (7, 2)
        assert (await answer(engine, ask()))[1].input_tokens == 7


# Errors inside a stream


@pytest.mark.parametrize("nothing", ["", None, {}, [], False])
def test_an_empty_error_is_none(nothing):
    """Each good answer was taken for a failure, since the server names the field always."""
    assert spoken(event({"error": nothing, "choices": [{"delta": {"content": "One"}}]})) == "One"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"error": {"message": "quota exceeded", "code": 429}}, "engine_busy"),
        ({"error": {"message": "Loading model", "code": 503}}, "engine_unavailable"),
        ({"error": "STREAM_EXPLODED"}, "engine_crashed"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "engine_busy"),
        ([{"error": {"message": "bad", "code": 400}}], "bad_request"),
        ({"error": {"message": "bad", "code": "400"}}, "bad_request"),
        ({"error": "", "message": "boom", "object": "error"}, "engine_crashed"),
    ],
)
def test_an_error_inside_a_good_stream_is_an_error(said, code):
    """An empty answer was shown as a success (fox1245/NeoGraph#124, apache/rocketmq-dashboard#2178)."""
    with pytest.raises(UpstreamError) as raised:
        read(event(said), DONE)
    assert raised.value.code == code


@pytest.mark.parametrize("status", [200, 201])
async def test_an_error_under_a_good_status_is_that_error(server, status):
    """The server's reason was lost: it answered 200 with an error where a stream or a count was asked for."""
    said = saying({"error": {"message": "this model is gone for good", "code": 400}}, status=status)
    async with engine_for(server) as engine:
        server.chat = said
        assert (await failure(engine)).code == "bad_request"
        server.one_token = said
        assert (await failure(engine, text="another question")).code == "bad_request"


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


# Anything else

CHUNKS: list[dict[str, Any]] = [
    {
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": None}
        ],
        "usage": None,
    }
    for text in ("One", " two", " three")
]  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    ("id",), ("object",), ("created",), ("model",), ("choices",), ("usage",), ("error",), ("timings",), ("type",),
    ("choices", 0), ("choices", 0, "index"), ("choices", 0, "delta"), ("choices", 0, "logprobs"),
    ("choices", 0, "finish_reason"), ("choices", 0, "delta", "role"), ("choices", 0, "delta", "content"),
    ("choices", 0, "delta", "reasoning"), ("choices", 0, "delta", "tool_calls"), ("choices", 0, "usage"), ("new",),
]  # fmt: skip


@given(place=st.sampled_from(PLACES), value=JSON_VALUES)
@settings(max_examples=400)
def test_a_field_of_any_type_costs_that_field_and_never_the_stream(place, value):
    """A new field, or an old one with a new type, ended every answer of a server that had been updated."""
    odd = json.loads(json.dumps(CHUNKS[1]))
    inner = odd
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    stream = [event(CHUNKS[0]), b"data: " + json.dumps(odd).encode() + b"\n\n", event(CHUNKS[2])]
    try:
        said = spoken(*stream)
    except UpstreamError:
        assert odd.get("error") or odd.get("object") == "error" or odd.get("type") == "error"
        return
    assert said.startswith("One")
    assert said.endswith(" three")
    if place[:1] != ("choices",) or place[2:3] not in {(), ("delta",)}:
        assert said == "One two three"


@given(
    data=st.lists(st.binary(max_size=40) | st.sampled_from([chunk("One"), STOP, DONE, b"data: ", b"\n"]), max_size=8)
)
@settings(max_examples=150)
def test_no_bytes_end_in_anything_but_a_text_or_a_coded_error(data):
    """One odd byte showed a traceback where the answer should be."""
    with contextlib.suppress(UpstreamError):
        assert isinstance(spoken(*data).encode(), bytes)


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
