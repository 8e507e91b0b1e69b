"""The worker's loop in this process, with a real model and a real socket, for what a separate worker seldom meets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.worker import __main__ as worker
from node.engine.worker.batch import Batch
from node.engine.worker.connection import EngineConnection, ParentGoneError
from node.engine.worker.loop import WorkerLoop
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.model import LoadedModel
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage, Sampling
from tests.node.engine.helpers import load_frame
from tests.node.engine.tiny import CHATML, write_tiny
from tests.patience import PATIENCE_S

HELLO = (ChatMessage("user", "hello"),)


NEVER_MS = 1e9


def load(path: Path, flush_ms: float = NEVER_MS) -> ipc.Load:
    return load_frame(path, 256, 512, slots=2, queue_limit=1, threads=1, window_tokens=64, flush_ms=flush_ms)


def generate(ticket: int, **sampling: float) -> ipc.Generate:
    return ipc.Generate(ticket, HELLO, 8, Sampling(**{"temperature": 0, **sampling}), 1, ())


class Engine:
    """The other end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = ipc.FrameDecoder()

    def send(self, *frames: ipc.ToWorker) -> None:
        self.sock.sendall(ipc.encode(frames))

    def read_all(self) -> list[ipc.FromWorker]:
        frames: list[ipc.FromWorker] = []
        self.sock.settimeout(PATIENCE_S)
        while data := self.sock.recv(65536):
            frames += self._decoder.feed_from_worker(data)
        return frames


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


def make_loop(
    model: LoadedModel, sock: socket.socket, path: Path, config: ipc.Load | None = None, **limits: float
) -> WorkerLoop:
    prompts = PromptBuilder(ChatTemplate(CHATML), model.vocabulary, MarkerGuard(model.vocabulary.markers()))
    return WorkerLoop(EngineConnection(sock), model, prompts, config or load(path), **limits)


def run(loop: WorkerLoop, engine: Engine, theirs: socket.socket, *frames: ipc.ToWorker) -> list[ipc.FromWorker]:
    engine.send(*frames)
    loop.run()
    theirs.shutdown(socket.SHUT_WR)
    return engine.read_all()


def finish(loop: WorkerLoop) -> list[ipc.FromWorker]:
    """Run until nothing is left to do; what would be sent."""
    while loop._step() or loop._scheduler.waiting:
        loop._admit()
    for request in list(loop._requests.values()):
        loop._send_text(request)
    return loop._out


def texts(frames: list[ipc.FromWorker]) -> dict[int, str]:
    answers: dict[int, str] = {}
    for frame in frames:
        if isinstance(frame, ipc.OutputText):
            answers[frame.ticket] = answers.get(frame.ticket, "") + frame.text
    return answers


def watch_sends(loop: WorkerLoop, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many tokens' text each send holds for the first and the second request, as they go out."""
    sends: list[list[int]] = []

    def note(frames: list[ipc.FromWorker]) -> None:
        sent = [frame for frame in frames if isinstance(frame, ipc.OutputText)]
        sends.append([sum(frame.tokens for frame in sent if frame.ticket == ticket) for ticket in (1, 2)])

    monkeypatch.setattr(loop._connection, "send", note)
    return sends


@pytest.mark.parametrize(("worth_s", "sends"), [(0.0, [[1, 0], [0, 1]]), (1e9, [[1, 1]])])
def test_where_drawing_takes_long_text_goes_out_while_the_next_stream_draws(
    pair, model, tiny_model, monkeypatch, worth_s, sends
):
    loop = make_loop(model, pair[1], tiny_model, load(tiny_model, flush_ms=0.0), worth_sending_s=worth_s)
    seen = watch_sends(loop, monkeypatch)
    loop._take(generate(1))
    loop._take(generate(2))
    for _ in range(3):
        seen.clear()
        assert loop._step()
        loop._flush()
    assert seen == sends


def test_text_that_is_due_goes_out_before_the_next_token_is_drawn(pair, model, tiny_model, monkeypatch):
    loop = make_loop(model, pair[1], tiny_model)
    seen = watch_sends(loop, monkeypatch)
    loop._take(generate(1))
    assert loop._step()
    loop._flush()
    seen.clear()
    assert loop._step()
    assert loop._step()
    assert seen == []
    loop._flushed_at = float("-inf")
    assert loop._step()
    assert seen == [[2, 0]]
    assert not loop._urgent


def failing(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
    """Have the next batches end with these codes instead of being computed."""
    decode = Batch.decode

    def instead(self: Batch, context: int) -> int:
        if not codes:
            return decode(self, context)
        self.rows = 0
        return codes.pop(0)

    monkeypatch.setattr(Batch, "decode", instead)


@pytest.mark.parametrize("code", [2, -1, -2, -3])
def test_a_batch_that_fails_ends_its_requests_and_the_loop_goes_on(pair, model, tiny_model, monkeypatch, code):
    loop = make_loop(model, pair[1], tiny_model)
    loop._take(generate(1))
    loop._take(generate(2))
    failing(monkeypatch, [code])
    assert loop._step()
    assert [(frame.ticket, frame.code) for frame in loop._out if isinstance(frame, ipc.Refused)] == [
        (1, "engine_failed"),
        (2, "engine_failed"),
    ]
    loop._take(generate(3))
    assert [frame.ticket for frame in finish(loop) if isinstance(frame, ipc.Ended)] == [3]


def test_who_is_not_in_a_batch_that_fails_goes_on_in_a_new_context(pair, model, tiny_model, monkeypatch):
    loop = make_loop(model, pair[1], tiny_model)
    loop._take(generate(1))
    alone = texts(finish(loop))[1]
    loop._take(generate(2))
    for _ in range(4):
        loop._step()
    waiting = loop._requests[2]
    waiting.take_credit(-100)
    loop._take(generate(3))
    failing(monkeypatch, [-3])
    assert loop._step()
    waiting.take_credit(100)
    frames = finish(loop)
    assert [frame.ticket for frame in frames if isinstance(frame, ipc.Refused)] == [3]
    assert texts(frames)[2] == alone


def test_a_batch_that_finds_no_room_is_tried_again_with_fewer(pair, model, tiny_model, monkeypatch):
    loop = make_loop(model, pair[1], tiny_model)
    loop._take(generate(1))
    alone = texts(finish(loop))[1]
    loop._out.clear()
    loop._take(generate(2))
    loop._take(generate(3))
    for _ in range(3):
        loop._step()
    # What is kept is forgotten; then the last is preempted; then nothing can be done.
    failing(monkeypatch, [1, 1])
    frames = finish(loop)
    assert [frame for frame in frames if isinstance(frame, ipc.Refused)] == []
    assert texts(frames) == {2: alone, 3: alone}
    loop._take(generate(4))
    failing(monkeypatch, [1, 1])
    assert [frame.ticket for frame in finish(loop) if isinstance(frame, ipc.Refused)] == [4]


def test_one_that_is_preempted_goes_on_where_it_was_with_its_own_seed(pair, model, tiny_model):
    loop = make_loop(model, pair[1], tiny_model)
    warm = {"temperature": 1.5, "top_k": 0, "min_p": 0.0, "presence_penalty": 1.0}
    loop._take(generate(1, **warm))
    alone = texts(finish(loop))[1]
    loop._out.clear()
    loop._take(generate(2))
    loop._take(generate(3, **warm))
    for _ in range(4):
        loop._step()
    loop._scheduler.preempt(loop._requests[3])
    frames = finish(loop)
    assert texts(frames)[3] == alone
    assert len([frame for frame in frames if isinstance(frame, ipc.Began)]) == 2
    assert {frame.ticket: frame.output_tokens for frame in frames if isinstance(frame, ipc.Ended)}[3] == 8


def test_a_chats_next_turn_computes_only_what_is_new(pair, model, tiny_model):
    loop = make_loop(model, pair[1], tiny_model)
    loop._take(generate(1))
    first = loop._requests[1].tokens
    finish(loop)
    turn = (*HELLO, ChatMessage("assistant", texts(loop._out)[1]), ChatMessage("user", "and the model of the system"))
    loop._take(ipc.Generate(2, turn, 4, Sampling(temperature=0), 1, ()))
    second = loop._requests[2]
    assert second.reused_tokens >= len(first) - 8 > 8
    finish(loop)
    loop._take(ipc.Generate(3, turn, 4, Sampling(temperature=0), 1, (), cache_key="another"))
    assert loop._requests[3].reused_tokens == 0
    frames = finish(loop)
    assert texts(frames)[3] == texts(frames)[2]


def test_a_chat_that_left_the_cache_for_others_goes_on_where_it_was(pair, model, tiny_model):
    swapping = msgspec.structs.replace(load(tiny_model), swap_bytes=1 << 24, evict_after_tokens=0)
    loop = make_loop(model, pair[1], tiny_model, swapping)
    loop._take(generate(1))
    finish(loop)
    turn = (*HELLO, ChatMessage("assistant", texts(loop._out)[1]), ChatMessage("user", "and the model of the system"))
    loop._take(ipc.Generate(2, turn, 4, Sampling(temperature=0), 1, (), cache_key="another"))
    assert loop._requests[2].reused_tokens == 0
    finish(loop)
    assert (loop._runner.cache.kept, loop._runner.cache.swapped) == (1, 1)
    loop._take(ipc.Generate(3, turn, 4, Sampling(temperature=0), 1, ()))
    assert loop._requests[3].reused_tokens > 8
    frames = finish(loop)
    assert texts(frames)[3] == texts(frames)[2]


def test_an_idle_engine_copies_what_it_keeps_before_anybody_wants_its_cells(pair, model, tiny_model):
    engine, theirs = pair
    loop = make_loop(model, theirs, tiny_model, msgspec.structs.replace(load(tiny_model), swap_bytes=1 << 24))
    loop._take(generate(1))
    finish(loop)
    assert (loop._runner.cache.kept, loop._runner.cache.swapped) == (1, 0)
    # The engine asks something else when the worker has just begun to copy.
    engine.send(ipc.Ping())
    assert loop._receive(busy=True) == [ipc.Ping()]
    engine.send(ipc.Ping())
    assert loop._receive(busy=False) == [ipc.Ping()]
    assert (loop._runner.cache.kept, loop._runner.cache.swapped) == (1, 1)


def test_every_sampling_parameter_reaches_llama_cpp(pair, model, tiny_model):
    loop = make_loop(model, pair[1], tiny_model)
    for ticket, sampling in enumerate(
        [
            {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1},
            {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
            {"temperature": 0.0, "presence_penalty": 1.0},
        ]
    ):
        loop._take(generate(ticket, **sampling))
        loop._admit()
        while loop._step():
            pass
    ended = [frame for frame in loop._out if isinstance(frame, ipc.Ended)]
    assert [frame.output_tokens for frame in ended] == [8, 8, 8]


def test_questions_beside_requests_are_answered(pair, model, tiny_model):
    engine, theirs = pair
    loop = make_loop(model, theirs, tiny_model)
    frames = run(
        loop,
        engine,
        theirs,
        ipc.Count(1, HELLO),
        ipc.Measure(2),
        ipc.Ping(),
        ipc.Credit(99, 5),
        ipc.Cancel(99),
        ipc.Quit(),
    )
    counted, measured, pong = frames
    assert counted.tokens > 0
    assert measured.tokens_per_s > 0
    assert isinstance(pong, ipc.Pong)


def test_a_second_model_is_a_mistake(pair, model, tiny_model):
    engine, theirs = pair
    loop = make_loop(model, theirs, tiny_model)
    with pytest.raises(EngineError):
        run(loop, engine, theirs, load(tiny_model))


def test_a_model_that_can_not_be_decoded_is_unusable(pair, model, tiny_model, monkeypatch):
    monkeypatch.setattr(Batch, "decode", lambda _self, _context: -3)
    with pytest.raises(EngineError) as error:
        make_loop(model, pair[1], tiny_model)
    assert error.value.code == "model_unusable"


def test_a_link_notices_that_its_engine_is_gone(pair):
    engine, theirs = pair
    connection = EngineConnection(theirs)
    assert connection.receive() == []
    engine.sock.close()
    with pytest.raises(ParentGoneError):
        connection.receive(wait_ms=None)
    with pytest.raises(ParentGoneError):
        connection.send([ipc.Pong()])


def test_a_worker_serves_from_load_to_quit(pair, tiny_model):
    engine, theirs = pair
    engine.send(load(tiny_model))
    engine.send(ipc.Quit())
    worker.serve(theirs)
    theirs.shutdown(socket.SHUT_WR)
    frames = engine.read_all()
    assert isinstance(frames[0], ipc.Loading)
    assert isinstance(frames[-1], ipc.Ready)


def test_a_worker_whose_engine_leaves_ends_quietly(pair, tiny_model):
    engine, theirs = pair
    engine.send(load(tiny_model))
    engine.sock.close()
    worker.serve(theirs)


def test_a_worker_without_an_engine_ends_quietly(pair):
    engine, theirs = pair
    engine.sock.close()
    worker.serve(theirs)


def test_a_worker_wants_a_model_first(pair):
    engine, theirs = pair
    engine.send(ipc.Ping())
    with pytest.raises(SystemExit):
        worker.serve(theirs)


def test_a_file_that_llama_cpp_refuses_is_reported(pair, tmp_path):
    engine, theirs = pair
    (tmp_path / "rubbish.gguf").write_bytes(b"rubbish")
    engine.send(load(tmp_path / "rubbish.gguf"))
    worker.serve(theirs)
    theirs.shutdown(socket.SHUT_WR)
    (failed,) = engine.read_all()
    assert (type(failed), failed.code) == (ipc.LoadFailed, "model_unusable")


def test_a_worker_dies_only_with_its_own_parent():
    with pytest.raises(SystemExit):
        worker.die_with(1 << 30)


def test_a_vocabulary_with_a_leading_token_and_a_long_one(tmp_path):
    path = write_tiny(tmp_path / "m.gguf", bos=True, extra_tokens=("x" * 400,))
    model = LoadedModel(load(path), lambda _progress: True)
    vocabulary = model.vocabulary
    assert vocabulary.leading_tokens == [0]
    assert vocabulary.bos_text == "<|endoftext|>"
    assert vocabulary.piece(vocabulary.size - 1) == b"x" * 400
    assert vocabulary.piece(0) is None
    assert vocabulary.piece(1) == b""
    assert vocabulary._text(-1) == ""
    guard = MarkerGuard(vocabulary.markers())
    tokens = PromptBuilder(ChatTemplate(CHATML), vocabulary, guard).tokens(HELLO)
    assert tokens[:2] == [0, 1]
    model.close()
