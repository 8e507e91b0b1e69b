"""The worker's one loop: take frames, admit requests, decode one batch, sample, send text."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

from node.engine import frames as wire
from node.engine.protocol import EngineError, FinishReason
from node.engine.worker.answer import Answer
from node.engine.worker.batch import Batch
from node.engine.worker.model import LoadedModel
from node.engine.worker.native import llama
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.scheduler import BATCH_TOKENS, Scheduler, share_prefill

_RECEIVE_BYTES = 1 << 18
_LOOK_UP_SECONDS = 0.004
"""How often to look up from computing for what the engine asks: a cancellation is seen between two tokens."""
_AFTER_COUNT_MS = 3
_MEASURE_PROMPT_TOKENS = 16
_MEASURE_TOKENS = 32
_MEASURE_MIN_TOKENS = 4
_MEASURE_SECONDS = 0.25


class ParentGoneError(Exception):
    """The engine's end of the socket pair is closed."""


class Link:
    """The worker's end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = wire.FrameDecoder()
        self._kept: list[wire.ToWorker] = []
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive(self, *, wait_ms: float | None = 0) -> list[wire.ToWorker]:
        """Frames that have arrived; waits so long for some, without end if `None`.

        Raises:
            ParentGoneError: If none will ever come.
        """
        if self._kept:
            kept, self._kept = self._kept, []
            return kept
        if not self._poll.poll(wait_ms):
            return []
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except ConnectionError as error:
            raise ParentGoneError from error
        if not data:
            raise ParentGoneError
        return self._decoder.feed_to_worker(data)

    def keep(self, items: list[wire.ToWorker]) -> None:
        """Have the next `receive` return these."""
        self._kept = items

    def send(self, items: Items[wire.FromWorker]) -> None:
        """Send frames.

        Raises:
            ParentGoneError: If nobody reads them.
        """
        try:
            self._sock.sendall(wire.encode(items))
        except (ConnectionError, BrokenPipeError) as error:
            raise ParentGoneError from error


@dataclass(slots=True, eq=False)
class _Running:
    """A request in the queue or in a slot."""

    ticket: int
    prompt: list[int]
    room: int
    credit: int
    answer: Answer
    arrived_at: float
    slot: int = -1
    position: int = 0
    last: int = -1
    row: int = -1
    sampled: int = 0
    output_tokens: int = 0
    admitted_at: float = 0.0
    first_at: float = 0.0

    @property
    def prefilled(self) -> bool:
        return self.position >= len(self.prompt)


class Loop:
    """Continuous batching over one context.

    Args:
        link: Where frames come from and go to.
        model: What is loaded; this loop alone touches it.
        prompts: Makes tokens of conversations.
        config: The frame that began it all.
    """

    def __init__(self, link: Link, model: LoadedModel, prompts: PromptBuilder, config: wire.Load) -> None:
        self._link = link
        self._model = model
        self._prompts = prompts
        self._config = config
        self._scheduler = Scheduler(
            slots=config.slots,
            context_length=config.context_length,
            cache_tokens=config.cache_tokens,
            queue_limit=config.queue_limit,
        )
        self._batch = Batch(BATCH_TOKENS, config.slots)
        self._requests: dict[int, _Running] = {}
        self._slots: list[_Running] = []
        self._out: list[wire.FromWorker] = []
        self._flush_s = config.flush_ms / 1000
        self._flushed_at = 0.0
        self._urgent = False
        self._quit = False
        tags = prompts.thinking
        for tag in (tags.begin, tags.end) if tags is not None else ():
            model.vocabulary.show(tag)
        self.speed = self.measure()

    def run(self) -> None:
        """Serve until told to quit.

        Raises:
            ParentGoneError: If the engine is gone.
        """
        clock, busy, looked_at = time.perf_counter, False, 0.0
        while not self._quit:
            if self._urgent:
                # What ended may have left a slot to one that waits.
                self._admit()
            if not busy or self._urgent or clock() - self._flushed_at >= self._flush_s:
                self._flush()
            if not busy or clock() - looked_at >= _LOOK_UP_SECONDS:
                self._take_all(self._link.receive(wait_ms=0 if busy else None))
                looked_at = clock()
            busy = self._step()
        self._flush()

    def _take_all(self, frames: list[wire.ToWorker]) -> None:
        while frames:
            for frame in frames:
                self._take(frame)
            self._admit()
            if self._urgent:
                # An answer does not wait until the next batch is computed.
                self._flush()
            # Who counts a conversation asks for its answer in a moment: it need not wait for a batch either.
            counted = any(isinstance(frame, wire.Count) for frame in frames)
            frames = self._link.receive(wait_ms=_AFTER_COUNT_MS) if counted else []

    def measure(self) -> tuple[float, float]:
        """Decode speed of one stream in tokens/s, and milliseconds to the first token of a short prompt."""
        model, batch, clock = self._model, self._batch, time.perf_counter
        vocabulary = model.vocabulary.size
        prompt = [(7 * index + 1) % vocabulary for index in range(min(_MEASURE_PROMPT_TOKENS, self._prompt_room()))]
        batch.add_prompt(prompt, 0, 0, last=True)
        began = clock()
        self._must_decode()
        first = now = clock()
        steps, room = 0, self._config.context_length - len(prompt)
        while steps < min(_MEASURE_TOKENS, room) and (steps < _MEASURE_MIN_TOKENS or now - first < _MEASURE_SECONDS):
            batch.add(prompt[steps % len(prompt)], len(prompt) + steps, 0)
            self._must_decode()
            now = clock()
            steps += 1
        model.forget_all()
        return (steps / (now - first) if steps else 0.0), (first - began) * 1000

    def _prompt_room(self) -> int:
        return max(1, self._config.context_length // 2)

    def _must_decode(self) -> None:
        code = self._batch.decode(self._model.context)
        if code:
            raise EngineError(f"llama.cpp can't run this model (code {code}).", code="model_unusable")
        llama.llama_synchronize(self._model.context)

    def _take(self, frame: wire.ToWorker) -> None:
        match frame:
            case wire.Credit(ticket=ticket, tokens=tokens):
                if ticket in self._requests:
                    self._requests[ticket].credit += tokens
            case wire.Generate():
                self._begin(frame)
            case wire.Cancel(ticket=ticket):
                if ticket in self._requests:
                    self._end(self._requests[ticket], "cancelled")
            case wire.Count(ticket=ticket, messages=messages):
                self._answer(ticket, lambda: wire.Counted(ticket, len(self._prompts.tokens(messages))))
            case wire.Measure(ticket=ticket):
                if self._scheduler.idle:
                    self.speed = self.measure()
                self._send(wire.Measured(ticket, *self.speed))
            case wire.Ping():
                self._send(wire.Pong())
            case wire.Quit():
                self._quit = True
            case wire.Load():
                raise EngineError("A worker loads one model only.", code="engine_crashed")

    def _begin(self, frame: wire.Generate) -> None:
        def begin() -> None:
            prompt = self._prompts.tokens(frame.messages)
            if not prompt:
                raise EngineError("The model's chat template makes nothing of this conversation.", code="bad_request")
            room = self._scheduler.answer_room(len(prompt), frame.max_tokens)
            answer = Answer(frame, vocabulary=self._model.vocabulary, room=room, tags=self._prompts.thinking)
            try:
                self._scheduler.submit(frame.ticket, len(prompt), room)
            except EngineError:
                answer.close()
                raise
            self._requests[frame.ticket] = _Running(
                ticket=frame.ticket,
                prompt=prompt,
                room=room,
                credit=self._config.window_tokens,
                answer=answer,
                arrived_at=time.perf_counter(),
            )

        self._answer(frame.ticket, begin)
        # At once: of two requests that arrive together, the first must not look like a queue to the second.
        self._admit()

    def _answer(self, ticket: int, work: Callable[[], wire.FromWorker | None]) -> None:
        try:
            frame = work()
        except EngineError as error:
            frame = wire.Refused(ticket, error.code, error.message, error.fix)
        if frame is not None:
            self._send(frame)

    def _admit(self) -> None:
        for admission in self._scheduler.admit():
            request = self._requests[admission.ticket]
            request.slot = admission.slot
            request.admitted_at = time.perf_counter()
            self._slots.append(request)
            self._send(wire.Began(request.ticket, len(request.prompt)))

    def _step(self) -> bool:
        """Decode one batch: a token of every stream that may have one, and shares of the prompts.

        Returns:
            Whether there was anything to do.
        """
        batch = self._batch
        sampling = [one for one in self._slots if one.credit > 0 and one.position >= len(one.prompt)]
        for one in sampling:
            one.row = batch.add(one.last, one.position, one.slot)
            one.position += 1
        if len(sampling) < len(self._slots):
            sampling += self._add_prompts(len(sampling))
        if not batch.rows:
            return False
        code = batch.decode(self._model.context)
        if code:
            self._fail_all(f"llama.cpp could not run a batch (code {code}).")
            return True
        context, piece_of = self._model.context, self._model.vocabulary.piece
        for one in sampling:
            try:
                token = one.answer.draw(context, one.row)
            except EngineError as error:
                self._fail(one, error)
            else:
                self._accept(one, token, piece_of(token))
        return True

    def _add_prompts(self, decoding: int) -> list[_Running]:
        """Put prompt tokens into the batch; returns the requests whose prompt ends in it."""
        reading = [one for one in self._slots if not one.prefilled]
        ending: list[_Running] = []
        for one, share in zip(
            reading, share_prefill([len(one.prompt) - one.position for one in reading], decoding=decoding), strict=True
        ):
            if not share:
                continue
            start, end = one.position, one.position + share
            last = end == len(one.prompt)
            one.row = self._batch.add_prompt(one.prompt[start:end], start, one.slot, last=last)
            one.position = end
            if last:
                ending.append(one)
        return ending

    def _accept(self, one: _Running, token: int, piece: bytes | None) -> None:
        one.last = token
        if not one.sampled:
            one.first_at = time.perf_counter()
            self._urgent = True
        one.sampled += 1
        if piece is None:
            self._end(one, "stop")
            return
        one.credit -= one.answer.take(piece)
        if one.answer.stopped:
            self._end(one, "stop")
        elif one.sampled >= one.room:
            self._end(one, "length")

    def _end(self, one: _Running, reason: FinishReason) -> None:
        one.answer.finish()
        self._send_text(one)
        now = time.perf_counter()
        first = one.first_at or now
        prefill_ms = (first - one.admitted_at) * 1000 if one.slot >= 0 else 0.0
        self._send(wire.Ended(one.ticket, reason, len(one.prompt), one.output_tokens, prefill_ms, (now - first) * 1000))
        self._drop(one)

    def _drop(self, one: _Running) -> None:
        one.answer.close()
        del self._requests[one.ticket]
        self._scheduler.release(one.ticket)
        if one.slot >= 0:
            self._slots.remove(one)
            if self._slots:
                self._model.forget(one.slot)
            else:
                self._model.forget_all()

    def _fail_all(self, why: str) -> None:
        for one in list(self._slots):
            self._fail(one, EngineError(why, code="engine_failed", fix="Try again."))

    def _fail(self, one: _Running, error: EngineError) -> None:
        self._send_text(one)
        self._send(wire.Refused(one.ticket, error.code, error.message, error.fix))
        self._drop(one)

    def _send(self, frame: wire.FromWorker) -> None:
        self._out.append(frame)
        self._urgent = True

    def _send_text(self, one: _Running) -> None:
        for frame in one.answer.frames(one.ticket):
            self._out.append(frame)
            one.output_tokens += frame.tokens

    def _flush(self) -> None:
        for one in self._slots:
            if one.answer.has_unsent:
                self._send_text(one)
        if self._out:
            self._link.send(self._out)
            self._out.clear()
        self._urgent = False
        self._flushed_at = time.perf_counter()
