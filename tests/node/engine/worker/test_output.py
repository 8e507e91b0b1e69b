"""An answer as it grows, without a context: what is released when, in which segments, with which log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine import ipc
from node.engine.thinking.form import ThinkingForm
from node.engine.worker.model import LoadedModel
from node.engine.worker.output import RequestOutput
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import ChatMessage, Sampling, TokenLogprob
from tests.node.engine.worker.test_loop import load

TAGS = ThinkingForm("<think>", "</think>")
PIECES = st.sampled_from(
    [b"a", b"b", b"ab", "é".encode()[:1], "é".encode()[1:], b"<think>", b"</", b"think>", b"", b" "]
)


@pytest.fixture(scope="module")
def vocabulary(tiny_model: Path) -> Iterator[Vocabulary]:
    model = LoadedModel(load(tiny_model), lambda _progress: True)
    yield model.vocabulary
    model.close()


def grown(
    vocabulary: Vocabulary, pieces: list[bytes], *, stop: tuple[str, ...], tags: ThinkingForm | None, report: bool
) -> tuple[list[ipc.OutputText], int]:
    request = ipc.Generate(1, (ChatMessage("user", "x"),), 99, Sampling(), 1, stop, 0 if report else None)
    answer = RequestOutput(request, vocabulary=vocabulary, max_output_tokens=99, thinking=tags)
    frames, released = [], 0
    for token, piece in enumerate(pieces):
        if report:
            answer._drawn.append(TokenLogprob(token, piece, -1.0))
        released += answer.take(piece)
        if token % 3 == 2:
            frames += answer.frames(1)
        if answer.stopped:
            break
    released += answer.finish()
    has_unsent = answer.has_unsent
    last = answer.frames(1)
    assert has_unsent is bool(last)
    answer.close()
    return frames + last, released


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=14), st.sampled_from([(), ("bX",), ("ab", "b b")]), st.booleans(), st.booleans())
def test_text_is_the_same_whatever_is_reported_beside_it(vocabulary, pieces, stop, thinks, report):
    tags = TAGS if thinks else None
    # Without stop strings, thinking changes nothing; a stop string ends an answer, and no thinking.
    plain, plain_tokens = grown(vocabulary, pieces, stop=stop, tags=tags if stop else None, report=False)
    frames, released = grown(vocabulary, pieces, stop=stop, tags=tags, report=report)
    text = "".join(frame.text for frame in frames)
    assert text == "".join(frame.text for frame in plain)
    assert released == sum(frame.tokens for frame in frames) == plain_tokens
    seen_bytes = seen_tokens = 0
    for frame in frames:
        seen_bytes, seen_tokens = seen_bytes + len(frame.text.encode()), seen_tokens + frame.tokens
        assert seen_tokens <= seen_bytes
        assert len(frame.logprobs) == (frame.tokens if report else 0)
    reported = [one.token for frame in frames for one in frame.logprobs]
    assert reported == [token for token, piece in enumerate(pieces) if piece][: len(reported)]


def test_no_text_is_lost_between_a_stop_string_that_nearly_came_twice(vocabulary):
    frames, released = grown(vocabulary, [b"ab", b"b", b"c"], stop=("bX",), tags=None, report=False)
    assert "".join(frame.text for frame in frames) == "abbc"
    assert released == 3


def test_an_answer_of_a_model_that_nobody_knew_to_think_may_begin_with_a_tag(vocabulary):
    pieces = [b"<th", b"ink>", b"a", b"</think>", b" ", b"b", b"ab", b"<think>"]
    frames, released = grown(vocabulary, pieces, stop=("never",), tags=None, report=True)
    told = [(frame.text, frame.thinking, frame.marker) for frame in frames]
    assert "".join(text for text, thinking, _ in told if not thinking) == "bab<think>"
    assert "".join(text for text, thinking, marker in told if thinking and not marker) == "a"
    assert released == len(pieces)


@pytest.mark.parametrize("report", [True, False])
def test_a_stop_string_ends_the_answer_and_no_thinking(vocabulary, report):
    pieces = [b"<think>", b"a", b"b", b"</think>", b"b", b"xa", b"b", b"a"]
    frames, released = grown(vocabulary, pieces, stop=("ab",), tags=TAGS, report=report)
    assert "".join(frame.text for frame in frames) == "<think>ab</think>bx"
    # The token that the stop string begins in holds text of the answer too.
    assert released == 6
