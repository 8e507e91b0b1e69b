"""What other servers stream, read as what it means: an odd field costs that field, never the answer."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.upstream.chunks import Piece, usage_of
from node.engine.upstream.piece_reader import PieceReader
from node.engine.upstream.refusals import UpstreamError
from tests.node.engine.helpers import answer, ask
from tests.node.engine.upstream.engines import engine_for, failure
from tests.node.engine.upstream.hostile import (
    DONE,
    STOP,
    chunk,
    event,
    saying,
    sending,
    usage,
)


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
