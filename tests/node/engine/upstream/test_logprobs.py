"""Log-probabilities from a server: each checked, each with the text in which its token begins."""

from __future__ import annotations

import math

import pytest

from node.engine.upstream.logprobs import MAX_ENTRIES, LogprobReader
from node.engine.upstream.refusals import UpstreamError
from tests.node.engine.upstream.able import llama_server_entry


def reader(tops: int = 0, *, ids_as_tokens: bool = False) -> LogprobReader:
    return LogprobReader(tops, ids_as_tokens=ids_as_tokens)


def data(*entries: dict) -> dict:
    return {"content": list(entries)}


def nested(depth: int) -> list:
    inner: list = []
    for _ in range(depth):
        inner = [inner]
    return inner


def test_a_token_waits_for_the_text_in_which_it_begins():
    reading = reader()
    assert reading.take("", data(llama_server_entry(1, "\u00e9"))) == ()
    told = reading.take("é!", data(llama_server_entry(2, "!")))
    assert [one.token for one in told] == [1, 2]
    assert reading.take("", data(llama_server_entry(3, "<end>"))) == ()


def test_a_token_told_by_its_text_alone_has_the_bytes_of_that_text():
    (one,) = reader().take("é", data({"id": 4, "token": "é", "logprob": -1, "bytes": None}))
    assert one.data == "é".encode()


def test_the_most_likely_come_first_and_no_more_than_were_asked_for():
    entry = llama_server_entry(1, "a") | {
        "top_logprobs": [{"id": n, "token": "x", "logprob": float(-n)} for n in (5, 1, 3)]
    }
    (one,) = reader(2).take("a", data(entry))
    assert [top.token for top in one.top] == [1, 3]


def test_a_rounding_error_above_zero_is_zero():
    (one,) = reader().take("a", data(llama_server_entry(1, "a", 1e-7)))
    assert one.logprob == 0.0
    assert math.copysign(1, one.logprob) == 1


@pytest.mark.parametrize(
    "token", ["7", "token_id:", "token_id:-1", "token_id:٣", "token_id:99999999999", "token_id:1 "]
)
def test_what_is_no_id_in_a_tokens_place_is_refused(token):
    entry = {"token": token, "bytes": [97], "logprob": -1.0, "top_logprobs": []}
    with pytest.raises(UpstreamError, match="broken answer"):
        reader(ids_as_tokens=True).take("a", data(entry))


def test_a_token_that_only_looks_like_an_id_is_none_where_no_ids_were_asked_for():
    entry = {"token": "token_id:7", "bytes": [97], "logprob": -1.0}
    with pytest.raises(UpstreamError):
        reader().take("a", data(entry))


GOOD = llama_server_entry(1, "a")
HOSTILE = {
    "not a number": data({"id": 1, "token": "a", "logprob": math.nan}),
    "infinite": data({"id": 1, "token": "a", "logprob": -math.inf}),
    "no log-probability": data({"id": 1, "token": "a", "logprob": None}),
    "text for a number": data(GOOD | {"logprob": "-1"}),
    "more than certain": data(GOOD | {"logprob": 0.5}),
    "no id": data({"token": "a", "logprob": -1.0}),
    "a negative id": data(GOOD | {"id": -1}),
    "a huge id": data(GOOD | {"id": 2**31}),
    "a byte that is none": data(GOOD | {"bytes": [256]}),
    "too many bytes": data(GOOD | {"bytes": [97] * 1_025}),
    "too long a token": data({"id": 1, "token": "a" * 1_025, "logprob": -1.0}),
    "too many tokens": data(*[GOOD] * (MAX_ENTRIES + 1)),
    "too many alternatives": data(llama_server_entry(1, "a", tops=65)),
    "an alternative without an id": data(GOOD | {"top_logprobs": [{"token": "b", "logprob": -1.0}]}),
    "a list": [1],
    "a text": "{oops",
    "deep": {"content": nested(10_000)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_log_probability_is_a_broken_answer(name):
    with pytest.raises(UpstreamError) as raised:
        reader(1).take("a", HOSTILE[name])
    assert raised.value.code == "engine_crashed"


def test_what_several_tokens_wrote_is_not_told_as_one_of_them():
    reading = reader()
    assert len(reading.take("a", data(GOOD), 1)) == 1
    assert reading.take(" the end", data(llama_server_entry(2, " the end")), 3) == ()
    assert len(reading.take("b", data(llama_server_entry(3, "b")), 4)) == 1
    reading.finish()


def test_a_gap_may_be_short():
    reading = reader()
    assert reading.take("x" * 200, None, 1) == ()
    assert len(reading.take("a", data(GOOD), 2)) == 1
    assert reading.take("x" * 200, None) == ()
    with pytest.raises(UpstreamError):
        reading.take("x" * 100, None)


def test_text_of_which_nothing_was_told_is_a_broken_answer():
    reading = reader()
    reading.finish()
    reading.take("short", data())
    with pytest.raises(UpstreamError):
        reading.finish()


def test_tokens_without_end_and_without_text_are_a_broken_answer():
    reading = reader()
    reading.take("", data(*[GOOD] * MAX_ENTRIES))
    with pytest.raises(UpstreamError):
        reading.take("", data(GOOD))
