import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.upstream.refusals import MAX_RETRY_S, again_fix, refusal, retry_after_s, words_of


@pytest.mark.parametrize(
    ("status", "body", "code", "reachability"),
    [
        (429, b"", "engine_busy", "here"),
        (503, b"", "engine_unavailable", "away"),
        (401, b"", "upstream_refused", "misconfigured"),
        (403, b"", "upstream_refused", "misconfigured"),
        (402, b"", "upstream_refused", "misconfigured"),
        (404, b'{"error":{"message":"The model `x` does not exist."}}', "unknown_model", "misconfigured"),
        (404, b"<html>", "upstream_unusable", "misconfigured"),
        (307, b"", "upstream_unusable", "misconfigured"),
        (400, b'{"error":{"code":"context_length_exceeded","message":"..."}}', "context_too_long", "here"),
        (400, b'{"error":{"code":"model_not_found","message":"..."}}', "unknown_model", "misconfigured"),
        (413, b'{"error":"inputs are too long"}', "context_too_long", "here"),
        (422, b'{"detail":[{"msg":"top_k"}]}', "bad_request", "here"),
        (408, b"", "engine_stalled", "here"),
        (504, b"", "engine_stalled", "here"),
        (500, b"", "engine_crashed", "here"),
        (502, b"<html>", "engine_crashed", "here"),
        (204, b"", "engine_crashed", "here"),
    ],
)
def test_each_status_means_one_thing(status, body, code, reachability):
    error = refusal(status, body=body)
    assert (error.code, error.reachability) == (code, reachability)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, b"", 400),
        (401, b"", 502),  # the key is the provider's, not the buyer's
        (404, b'{"error":{"message":"The model `x` does not exist."}}', 404),
        (404, b"<html>", 502),
        (408, b"", 504),
        (413, b'{"error":"inputs are too long"}', 400),
        (422, b"", 400),
        (429, b"", 429),
        (500, b"", 502),
        (503, b"", 503),
        (504, b"", 504),
    ],
)
def test_the_registry_has_the_status_that_a_gateway_before_the_upstream_would_answer(status, body, told):
    assert refusal(status, body=body).entry.http_status == told


@pytest.mark.parametrize("status", [429, 503])
def test_when_to_come_back_reaches_the_buyer(status):
    error = refusal(status, retry_after="17")
    assert error.fix == "Try again in 17 s."
    assert error.retry_after_s == 17


@given(status=st.integers(100, 599), words=st.text(max_size=60))
@settings(max_examples=80)
def test_a_buyer_never_reads_the_upstreams_words(status, words):
    secret = "/home/alice/" + words
    error = refusal(status, body=f'{{"error": "{secret}"}}'.encode())
    assert "alice" not in error.line()
    assert len(error.owner_line()) < 400


@given(header=st.text(max_size=80) | st.floats().map(str) | st.integers().map(str))
@settings(max_examples=100)
def test_a_retry_after_is_between_now_and_an_hour_or_nothing(header):
    wait_s = retry_after_s(header)
    assert wait_s is None or 0 <= wait_s <= MAX_RETRY_S


def test_a_date_is_a_retry_after_too():
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after_s(date, now_s=1445412480 - 90) == 90
    assert retry_after_s(date) == 0
    assert retry_after_s(None) is None


def test_a_wait_is_rounded_up_to_whole_seconds():
    assert again_fix(0.2) == "Try again in 1 s."
    assert again_fix(1.2) == "Try again in 2 s."
    assert again_fix(None) == "Try again in a moment."


def test_an_error_bodys_words_are_harmless_and_short():
    assert words_of(b'{"error": {"message": "\\u001b[31mred"}}') == "red"
    assert len(words_of(b"x" * 100_000)) <= 160
    assert words_of(b'{"detail": "Not Found"}') == "Not Found"
    assert words_of(b'{"message": "hm"}') == "hm"
    assert words_of(b"[" * 5_000).startswith("[")
