import contextlib
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.upstream.chunks import Piece, read_piece
from node.engine.upstream.piece_reader import PieceReader
from node.engine.upstream.refusals import UpstreamError
from node.engine.upstream.sse import MAX_EVENT_BYTES, MAX_LINE_BYTES, EventDecoder
from tests.node.engine.upstream.hostile import DONE, chunk, usage


def fed(*parts: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [event for part in parts for event in decoder.feed(part)]


def spoken(*parts: bytes) -> str:
    reader = PieceReader()
    return "".join(piece.text for part in (*parts, None) for piece in reader.read(part))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_ends_a_line(end):
    assert fed(b"data: a" + end + b"data:b" + end + end + b": a comment" + end + b"data: c" + end + end) == [
        b"a\nb",
        b"c",
    ]


@settings(max_examples=80)
@given(
    lines=st.lists(st.sampled_from([b"data: x", b"data: y z", b"event: e", b": ping", b"", b"id: 1"]), max_size=12),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_where_the_bytes_are_cut_makes_no_difference(lines, end, cuts):
    whole = b"".join(line + end for line in lines)
    at = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    parts = [whole[a:b] for a, b in itertools.pairwise(at)]
    assert fed(*parts) == fed(whole)


@settings(max_examples=100)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_coded_error(data):
    with contextlib.suppress(UpstreamError):
        spoken(b"data: " + data + b"\n\n").encode()


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(UpstreamError, match="broken answer") as raised:
        fed(*[b"x" * 65_536] * (1 + MAX_LINE_BYTES // 65_536))
    assert "too long" in raised.value.owner


def test_an_event_of_endless_lines_is_refused():
    line = b"data: " + b"x" * 65_536 + b"\n"
    with pytest.raises(UpstreamError):
        fed(*[line] * (2 + MAX_EVENT_BYTES // 65_536))


def piece(data: bytes):
    (event,) = fed(data)
    return read_piece(event)


def test_a_chunk_says_its_text_and_why_it_ends():
    assert piece(chunk("hé")).text == "hé"
    assert piece(chunk(finish="length")).finish_reason == "length"
    assert piece(chunk(None)).text == ""
    assert piece(DONE).done


@pytest.mark.parametrize("data", [b'{"choices": 3}', b'{"choices":[{"delta":{"content":1}}]}'])
def test_a_field_of_an_unknown_type_says_nothing(data):
    assert read_piece(data) == Piece()


def test_counts_are_taken_from_usage_or_from_timings_and_only_within_reason():
    assert (piece(usage(5, 9)).completion_tokens, piece(usage(5, 9)).prompt_tokens) == (5, 9)
    assert piece(chunk("a", timings={"predicted_n": 3})).completion_tokens == 3
    assert piece(usage(-4)).completion_tokens is None
    assert piece(usage(2**40)).completion_tokens is None


def test_half_a_character_becomes_whole_utf8():
    for half in (b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00"):
        assert spoken(b'data: {"choices":[{"delta":{"content":"a' + half + b'"}}]}\n\n').encode().startswith(b"a")


@pytest.mark.parametrize("data", [b"{", b"[]", b"17", b"<html>"])
def test_what_is_no_chunk_is_refused(data):
    with pytest.raises(UpstreamError) as raised:
        read_piece(data)
    assert raised.value.code == "engine_crashed"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"error": {"message": "overloaded", "code": 429}}, "engine_busy"),
        ({"error": {"message": "loading", "code": 503}}, "engine_unavailable"),
        ({"error": {"message": "the context is full"}}, "context_too_long"),
        ({"error": {"message": "boom", "type": "server_error"}}, "engine_crashed"),
        ({"error": "boom"}, "engine_crashed"),
        ({"object": "error", "message": "boom", "code": 400}, "bad_request"),
        ({"code": 400, "message": "bad", "error": {}}, "engine_crashed"),
    ],
)
def test_an_error_inside_a_stream_is_mapped_by_the_status_it_names(said, code):
    with pytest.raises(UpstreamError) as raised:
        read_piece(json.dumps(said).encode())
    assert raised.value.code == code


def test_an_error_field_of_null_is_no_error():
    assert piece(chunk("a", error=None)).text == "a"
