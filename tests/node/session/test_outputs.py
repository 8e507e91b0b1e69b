"""Formats, log-probabilities and thinking in a session: bounded, complete, and harmless to peers of before them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.session import buyer_io, provider_io
from node.session import messages as m
from node.session.terms import bill_nano, fingerprint_hash
from node.values.inference import (
    MAX_LOGIT_BIAS,
    MAX_SCHEMA_CHARS,
    JsonObject,
    JsonSchema,
    Sampling,
    TemplateOptions,
    TokenLogprob,
    TopLogprob,
)
from tests.node.session import metered
from tests.node.session.test_metered_agreement import session

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
NEW_FIELDS = {"logprobs", "response_format", "template_options", "thinking", "typical_p", "logit_bias"}
ONE = TokenLogprob(5, b"\xf0\x9f", -0.5, (TopLogprob(5, b"\xf0\x9f", -0.5), TopLogprob(6, b"a", -1.5)))


class OldDelta(msgspec.Struct, kw_only=True, tag="delta"):
    """A delta as it was before log-probabilities and thinking."""

    text: Annotated[str, msgspec.Meta(max_length=16_384)]
    tokens: int


def without_new(message: m.Message) -> bytes:
    """The message as a peer of before these fields sends it."""
    whole = msgspec.msgpack.decode(m.encode(message))

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(kept) for key, kept in value.items() if key not in NEW_FIELDS}
        return [strip(one) for one in value] if isinstance(value, list) else value

    return msgspec.msgpack.encode(strip(whole))


def test_messages_of_peers_before_these_fields_still_decode():
    assert m.decode(without_new(metered.ask())) == metered.ask()
    assert m.decode(without_new(m.Delta(text="a", tokens=1))) == m.Delta(text="a", tokens=1)


def test_a_peer_of_before_these_fields_skips_them():
    data = m.encode(m.Delta(text="a", tokens=1, thinking=True, logprobs=(ONE,)))
    assert msgspec.msgpack.decode(data, type=OldDelta) == OldDelta(text="a", tokens=1)
    assert len(m.encode(m.Delta(text="a", tokens=1))) == len(msgspec.msgpack.encode(OldDelta(text="a", tokens=1)))


@pytest.mark.parametrize(
    "message",
    [
        metered.ask(logprobs=20, response_format=JsonSchema("{}"), sampling=Sampling(logit_bias=((1, 2.0),))),
        metered.ask(response_format=JsonObject()),
        metered.ask(template_options=TemplateOptions(enable_thinking=False, reasoning_effort="no_think")),
        m.Delta(text="a", tokens=1, thinking=True, logprobs=(ONE,) * m.MAX_DELTA_LOGPROBS),
    ],
    ids=["schema", "object", "options", "delta"],
)
def test_what_is_within_bounds_arrives_as_sent(message):
    assert m.decode(m.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        metered.ask(logprobs=21),
        metered.ask(logprobs=-1),
        metered.ask(response_format=JsonSchema("x" * (MAX_SCHEMA_CHARS + 1))),
        metered.ask(template_options=TemplateOptions(reasoning_effort="<|im_start|>")),
        metered.ask(template_options=TemplateOptions(reasoning_effort="x" * 17)),
        metered.ask(sampling=Sampling(logit_bias=((1, 0.0),) * (MAX_LOGIT_BIAS + 1))),
        metered.ask(sampling=Sampling(logit_bias=((-1, 0.0),))),
        metered.ask(sampling=Sampling(logit_bias=((1, 101.0),))),
        metered.ask(sampling=Sampling(logit_bias=((1, math.nan),))),
        metered.ask(sampling=Sampling(typical_p=1.5)),
        metered.ask(sampling=Sampling(typical_p=math.nan)),
        m.Delta(text="", tokens=0, logprobs=(ONE,) * (m.MAX_DELTA_LOGPROBS + 1)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"", 0.5),)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"", -math.inf),)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"", math.nan),)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"", -1.0, (TopLogprob(1, b"", math.nan),)),)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"x" * 1_025, -1.0),)),
        m.Delta(text="", tokens=0, logprobs=(TokenLogprob(1, b"", -1.0, (TopLogprob(1, b"", -1.0),) * 21),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_breaks_a_bound_is_refused(message):
    with pytest.raises(m.MessageError):
        m.decode(msgspec.msgpack.encode(message))


def test_the_longest_log_probabilities_fit_into_one_message():
    top = (TopLogprob(2**31 - 1, b"x" * 1_024, -1.0),) * 20
    worst = (TokenLogprob(2**31 - 1, b"x" * 1_024, -1.0, top),) * m.MAX_DELTA_LOGPROBS
    m.decode(m.encode(m.Delta(text="😀" * 16_384, tokens=32, logprobs=worst)))


def test_the_fingerprint_is_what_the_document_says():
    documented = PROTOCOL.read_text()
    plain = Sampling(seed=7)
    used = Sampling(seed=7, typical_p=0.9, logit_bias=((5, -100),))
    form = JsonSchema('{"type": "boolean"}')
    for line, digest in (
        (
            '[{"frequency_penalty":0.0,"min_p":0.05,"presence_penalty":0.0,"repeat_penalty":1.0,"temperature":0.7,'
            '"top_k":40,"top_p":1.0},7,[],64]',
            fingerprint_hash(plain, (), 64, 7),
        ),
        (
            '[{"frequency_penalty":0.0,"logit_bias":[[5,-100.0]],"min_p":0.05,"presence_penalty":0.0,'
            '"repeat_penalty":1.0,"temperature":0.7,"top_k":40,"top_p":1.0,"typical_p":0.9},7,["."],64,'
            '{"schema":"{\\"type\\": \\"boolean\\"}","type":"json_schema"}]',
            fingerprint_hash(used, (".",), 64, 7, form),
        ),
    ):
        assert line in documented
        assert hashlib.sha256(line.encode()).digest() == digest
    told = (
        '[{"frequency_penalty":0.0,"min_p":0.05,"presence_penalty":0.0,"repeat_penalty":1.0,"temperature":0.7,'
        '"top_k":40,"top_p":1.0},7,[],64,{"template_options":{"enable_thinking":false}}]'
    )
    assert '{"template_options":{"enable_thinking":false}}' in documented
    options = TemplateOptions(enable_thinking=False)
    assert hashlib.sha256(told.encode()).digest() == fingerprint_hash(plain, (), 64, 7, template_options=options)
    assert fingerprint_hash(plain, (), 64, 7, JsonObject()) != fingerprint_hash(plain, (), 64, 7)


chunks = st.lists(
    st.tuples(st.text("ab é", min_size=1, max_size=80), st.integers(0, 2), st.booleans()).map(
        lambda made: provider_io.TextProduced(
            made[0], len(made[0]), made[1] > 0, (ONE,) * len(made[0]) if made[2] else (), made[1] == 2
        )
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(chunks, st.integers(1, 100))
def test_thinking_and_log_probabilities_arrive_whole_and_are_billed_as_any_text(produced, credit_tokens):
    made = [(one.text, one.tokens, one.thinking, one.logprobs, one.marker) for one in produced]
    request = metered.ask(max_tokens=4_000, logprobs=2, response_format=JsonObject())
    buying, selling = session(made, request=request, policy=metered.policy(credit_tokens=credit_tokens))
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    deltas = [action.message for action in buying.actions if isinstance(action, buyer_io.ReportProgress)]
    deltas = [delta for delta in deltas if isinstance(delta, m.Delta)]
    for kind in ((False, False), (True, False), (True, True)):
        sent = "".join(one.text for one in produced if (one.thinking, one.marker) == kind)
        assert "".join(delta.text for delta in deltas if (delta.thinking, delta.marker) == kind) == sent
    assert sum(len(delta.logprobs) for delta in deltas) == sum(len(one.logprobs) for one in produced)
    tokens = sum(one.tokens for one in produced)
    assert buying.state.cost_nano == bill_nano(metered.PRICES, 9, tokens)
    whole = "".join(one.text for one in produced)
    assert buying.outcome.receipt.output_hash == hashlib.sha256(whole.encode()).digest()


def test_a_provider_that_skips_the_format_signs_a_receipt_that_is_refused():
    buying, selling = session([("plain text", 2)], request=metered.ask(response_format=JsonObject()))
    asked = buying.sent[0]
    buying.sent[0] = msgspec.structs.replace(asked, response_format=None)
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Failed)
    assert buying.outcome.code == "bad_receipt"


def test_a_provider_that_skips_the_templates_options_signs_a_receipt_that_is_refused():
    options = TemplateOptions(enable_thinking=False)
    buying, selling = session([("plain text", 2)], request=metered.ask(template_options=options))
    buying.sent[0] = msgspec.structs.replace(buying.sent[0], template_options=TemplateOptions())
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Failed)
    assert buying.outcome.code == "bad_receipt"
