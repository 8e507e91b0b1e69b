"""An embedding model's worker and work beside streams, in this process: order, limits, and who is sent away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.worker import __main__ as worker
from node.engine.worker import kind
from node.engine.worker.model import LoadedModel
from node.engine.worker.score_embed import MAX_QUEUED, ScoreEmbedQueue
from node.values.inference import ChatMessage, Sampling
from tests.node.engine.bert import write_bert
from tests.node.engine.worker.test_loop import Engine, load

HELLO = (ChatMessage("user", "hello"),)


@pytest.fixture
def pair() -> Iterator[tuple[Engine, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Engine(ours), theirs


@pytest.fixture
def model(tiny_model: Path) -> Iterator[LoadedModel]:
    loaded = LoadedModel(load(tiny_model), lambda _progress: True)
    yield loaded
    loaded.close()


def test_an_embedder_answers_what_it_can_and_refuses_the_rest(pair, tmp_path):
    engine, theirs = pair
    engine.send(
        load(write_bert(tmp_path / "bert.gguf")),
        ipc.Embed(1, ("a b", "c")),
        ipc.Embed(2, ("x" * 300,)),
        ipc.Embed(3, ("d",)),
        ipc.Cancel(3),
        ipc.Count(4, HELLO),
        ipc.Score(5, HELLO, (), "x", (), 0),
        ipc.Generate(6, HELLO, 5, Sampling(), 1, ()),
        ipc.Credit(6, 1),
        ipc.Measure(7),
        ipc.Ping(),
    )
    engine.send(ipc.Embed(8, ("e",)))
    engine.sock.shutdown(socket.SHUT_WR)
    worker.serve(theirs)
    theirs.shutdown(socket.SHUT_WR)
    frames = [frame for frame in engine.read_all() if not isinstance(frame, ipc.Loading)]
    ready = frames[0]
    assert isinstance(ready, ipc.Ready)
    assert (ready.chats, ready.embedding_length) == (False, 32)
    done = [frame for frame in frames if isinstance(frame, ipc.EmbedDone)]
    assert [frame.ticket for frame in done][:1] == [1]
    assert done[0].input_tokens == (4, 3)
    assert len(done[0].vectors) == 2 * 32 * 4
    refused = {frame.ticket: frame.code for frame in frames if isinstance(frame, ipc.Refused)}
    assert refused == {2: "context_too_long", 4: "bad_request", 5: "bad_request", 6: "bad_request"}
    assert any(isinstance(frame, ipc.Measured) for frame in frames)
    assert any(isinstance(frame, ipc.Pong) for frame in frames)


def test_an_embedder_loads_one_model_only_and_quits_when_told(pair, tmp_path):
    engine, theirs = pair
    config = load(write_bert(tmp_path / "bert.gguf"))
    engine.send(config, ipc.Quit())
    worker.serve(theirs)
    engine.send(config, config)
    worker.serve(theirs)
    theirs.shutdown(socket.SHUT_WR)
    assert isinstance(engine.read_all()[-1], ipc.LoadFailed)


def test_side_work_is_done_in_order_a_piece_at_a_time_and_can_be_forgotten(model, tiny_model):
    extra = ScoreEmbedQueue(model, load(tiny_model), lambda _messages: [5, 6, 7])
    assert not extra.waiting
    extra.submit(ipc.Score(1, HELLO, (), None, (8,) * 100, 1))
    extra.submit(ipc.Embed(2, ("a",)))
    extra.submit(ipc.Score(3, (), (5,), "hello", (), 0))
    assert extra.step() is None
    extra.cancel(2)
    extra.cancel(99)
    answers, steps = [], 0
    while extra.waiting:
        steps += 1
        if (answer := extra.step()) is not None:
            answers.append(answer)
    assert [answer.ticket for answer in answers] == [1, 3]
    assert steps > 100 // 16
    assert len(answers[0].tokens) == 100
    extra.submit(ipc.Score(4, (), (5,), "hello", (), 0))
    extra.step()
    extra.submit(ipc.Embed(5, ("a",)))
    extra.close()
    assert not extra.waiting


def test_side_work_that_memory_has_no_room_for_is_refused_and_what_comes_later_is_done(model, tiny_model):
    free_bytes = [1 << 10]
    extra = ScoreEmbedQueue(model, load(tiny_model), lambda _messages: [5, 6, 7], lambda: free_bytes[0])
    for ticket, work in enumerate((ipc.Score(0, HELLO, (), None, (8,) * 9, 1), ipc.Embed(1, ("a",)))):
        extra.submit(work)
        refused = extra.step()
        assert isinstance(refused, ipc.Refused)
        assert (refused.ticket, refused.code) == (ticket, "engine_busy")
        assert "0 MiB are free" in refused.message
    assert not extra.waiting
    free_bytes[0] = 1 << 30
    extra.submit(ipc.Embed(2, ("a",)))
    assert isinstance(extra.step(), ipc.EmbedDone)


def test_too_much_side_work_is_busy_and_a_failed_piece_ends_its_own_work_alone(model, tiny_model, monkeypatch):
    extra = ScoreEmbedQueue(model, load(tiny_model), lambda _messages: [5])
    for ticket in range(MAX_QUEUED):
        extra.submit(ipc.Embed(ticket, ("a",)))
    with pytest.raises(EngineError) as error:
        extra.submit(ipc.Embed(99, ("a",)))
    assert error.value.code == "engine_busy"
    with monkeypatch.context() as patched:
        patched.setattr("node.engine.worker.batch.Batch.decode", lambda self, _context: setattr(self, "rows", 0) or 2)
        failed = extra.step()
    assert (failed.ticket, failed.code) == (0, "engine_failed")
    with monkeypatch.context() as patched:
        patched.setattr("node.engine.worker.score_embed.llama.llama_init_from_model", lambda *_: None)
        failed = extra.step()
    assert (failed.ticket, failed.code) == (1, "engine_busy")
    assert isinstance(extra.step(), ipc.EmbedDone)
    extra.close()


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("llama_model_has_encoder", True, "encoder-decoder"),
        ("llama_model_has_decoder", False, "no decoder"),
        ("llama_model_is_diffusion", True, "diffusion"),
    ],
)
def test_what_is_neither_a_chat_model_nor_an_embedder_is_refused_by_kind(model, monkeypatch, name, value, word):
    kind.check_kind(model.model)
    assert not kind.embeds_only(model.model)
    monkeypatch.setattr(kind.llama, name, lambda _model: value)
    with pytest.raises(EngineError, match=word) as error:
        kind.check_kind(model.model)
    assert error.value.code == "model_unusable"
