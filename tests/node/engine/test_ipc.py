from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine import ipc
from node.engine.protocol import EngineError
from node.values.inference import ChatMessage, Sampling, TokenLogprob, TopLogprob
from node.wire import framing
from tests.node.engine.helpers import load_frame

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TO_WORKER = [
    load_frame(Path("/m.gguf"), 10, 20, slots=1, queue_limit=2, threads=3, window_tokens=256, flush_ms=4.0),
    ipc.Generate(1, (ChatMessage("user", "hé"),), 5, Sampling(seed=3), 3, ("\n",)),
    ipc.Generate(1, (ChatMessage("user", "hé"),), 5, Sampling(), 3, (), 4, 'root ::= "a"', "key", 2),
    ipc.Score(4, (), (1, 2), None, (3,), 5),
    ipc.Embed(5, ("a", "é")),
    ipc.Cancel(1),
    ipc.Credit(1, 128),
    ipc.Count(2, (ChatMessage("system", ""),)),
    ipc.Measure(3),
    ipc.Ping(),
    ipc.Quit(),
]
FROM_WORKER = [
    ipc.Loading(0.5),
    ipc.Ready("b", "cpu", 3, 4, 1.0, 2.0),
    ipc.LoadFailed("model_unusable", "no"),
    ipc.Began(1, 9),
    ipc.OutputText(1, "😀", 4),
    ipc.OutputText(1, "😀", 1, True, (TokenLogprob(3, b"\xf0", -0.5, (TopLogprob(4, b"a", -1.0),)),), True),
    ipc.ScoreDone(4, 2, (TokenLogprob(3, b"a", -0.5),)),
    ipc.EmbedDone(5, b"\0\0\0\0", (1, 2)),
    ipc.Ended(1, "stop", 9, 4, 1.0, 2.0),
    ipc.Refused(1, "engine_busy", "m", "f"),
    ipc.TokenCount(2, 5),
    ipc.Measured(3, 1.0, 2.0),
    ipc.Pong(),
]


@UNHURRIED
@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_arrive_as_sent_however_the_stream_is_cut(cuts):
    stream = ipc.encode(FROM_WORKER[:4]) + ipc.encode([]) + ipc.encode(FROM_WORKER[4:])
    decoder, got, at = ipc.FrameDecoder(), [], 0
    for cut in [*cuts, len(stream)]:
        got += decoder.feed_from_worker(stream[at : at + cut])
        at += cut
    assert got == FROM_WORKER


def test_frames_for_a_worker_arrive_as_sent():
    assert ipc.FrameDecoder().feed_to_worker(ipc.encode(TO_WORKER)) == TO_WORKER


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        ipc.encode([ipc.Quit()]),
        framing.frame(ipc.encode([ipc.Refused(1, "c", "message", "")])[4:].replace(b"message", b"\xff" * 7)),
        framing.frame(b"\x91" * 9_000),
    ],
    ids=len,
)
def test_bytes_that_no_worker_sends_are_an_error(data):
    with pytest.raises(EngineError) as error:
        ipc.FrameDecoder().feed_from_worker(data)
    assert error.value.code == "engine_crashed"
