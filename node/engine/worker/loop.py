"""The worker's one loop: take frames, admit requests, decode one batch, sample, send text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from node.engine import ipc
from node.engine.protocol import EngineError, FinishReason
from node.engine.thinking.form import ThinkingForm
from node.engine.worker.connection import EngineConnection
from node.engine.worker.measure import choose_threads, measure
from node.engine.worker.model import LoadedModel
from node.engine.worker.model_runner import ActiveRequest, ModelRunner
from node.engine.worker.output import RequestOutput
from node.engine.worker.pacing import gathering
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.scheduler import PRIORITY_SECONDS
from node.engine.worker.score_embed import ScoreEmbedQueue
from node.hardware.backend import usable_cores
from node.values.inference import ChatMessage

_LOOK_UP_SECONDS = 0.004
"""How often to look up from computing for what the engine asks: a cancellation is seen between two tokens."""
_AFTER_COUNT_MS = 3
_AFTER_FIRST_MS = 1
"""Requests that were sent in one moment begin in one batch, though the first of them finds the engine idle."""
_AFTER_FIRST_TEXT_SECONDS = 0.001
"""Where every core computes, an answer's first text would wait for the system's next tick in each process on its way
to the reader (some 4 ms on Linux without preemption): once a request, the cores are left to those processes."""
_SPACE_TOKENS = 8
"""Tokens of white space that may stand between an opening marker and the end of a prompt."""
WORTH_SENDING_SECONDS = 0.0005
"""Drawing for one stream after the other leaves all cores but one free. Text that is due goes out before it, so that it
is sealed, relayed and shown on those cores before the next batch wants them; and where a step takes longer than text is
gathered, what one stream drew goes out while the next one draws, if that took longer than this."""


class WorkerLoop:
    """Continuous batching over one context.

    Args:
        connection: Where frames come from and go to.
        model: What is loaded; this loop alone touches it.
        prompts: Makes tokens of conversations.
        config: The frame that began it all.
        thinking: How the model marks its thinking, if it thinks.
        worth_sending_s: Text that is due goes out between two draws once they took so long.
    """

    def __init__(
        self,
        connection: EngineConnection,
        model: LoadedModel,
        prompts: PromptBuilder,
        config: ipc.Load,
        *,
        thinking: ThinkingForm | None = None,
        worth_sending_s: float = WORTH_SENDING_SECONDS,
    ) -> None:
        self._connection = connection
        self._model = model
        self._prompts = prompts
        self._config = config
        self._runner = ModelRunner(model, config)
        self._scheduler = self._runner.scheduler
        self._requests: dict[int, ActiveRequest] = {}
        self._out: list[ipc.FromWorker] = []
        self._worth_sending_s = worth_sending_s
        self._flush_s = config.limits.flush_ms / 1000
        self._cores = usable_cores()
        self._flushed_at = 0.0
        self._urgent = False
        self._has_first_text = False
        self._quit = False
        self._marks = {} if thinking is None else model.vocabulary.show(thinking.tokens)
        if thinking is not None and any(
            text.decode() == thinking.stop and model.vocabulary.piece(token) is None
            for token, text in self._marks.items()
        ):
            # llama.cpp ends the answer at this token by itself.
            thinking = replace(thinking, stop="")
        self._thinking = thinking
        # A large vocabulary takes half a second: now, and not between two tokens of an answer.
        _ = model.vocabulary.table
        self._extra = ScoreEmbedQueue(model, config, prompts.tokens)
        if config.try_threads:
            choose_threads(model, self._runner.batch, config.try_threads)
        self.speed = self._measure()

    def run(self) -> None:
        """Serve until told to quit.

        Raises:
            ParentGoneError: If the engine is gone.
        """
        clock, busy, looked_at = time.perf_counter, False, 0.0
        while not self._quit:
            if self._scheduler.waiting:
                self._admit()
            if not busy or self._urgent or self._is_due(clock()):
                self._flush()
            if not busy or clock() - looked_at >= _LOOK_UP_SECONDS:
                self._take_all(self._receive(busy=busy), busy=busy)
                looked_at = clock()
            busy = self._step()
            if self._extra.waiting:
                busy = True
                if (done := self._extra.step()) is not None:
                    self._send(done)
        self._flush()
        self._extra.close()

    def _receive(self, *, busy: bool) -> list[ipc.ToWorker]:
        """Frames that have arrived; an idle worker waits for some, and copies kept sequences meanwhile."""
        while not busy and self._runner.cache.copy_ahead():
            if frames := self._connection.receive():
                return frames
        return self._connection.receive(wait_ms=0 if busy else None)

    def _take_all(self, frames: list[ipc.ToWorker], *, busy: bool) -> None:
        while frames:
            for frame in frames:
                self._take(frame)
            self._admit()
            if self._urgent:
                # An answer does not wait until the next batch is computed.
                self._flush()
            # The question usually follows its count in a moment: it should not wait for a batch either.
            if any(isinstance(frame, ipc.Count) for frame in frames):
                frames = self._connection.receive(wait_ms=_AFTER_COUNT_MS)
            elif not busy and any(isinstance(frame, ipc.Generate) for frame in frames):
                frames = self._connection.receive(wait_ms=_AFTER_FIRST_MS)
            else:
                frames = []

    def _measure(self) -> tuple[float, float]:
        self._runner.forget()
        return measure(self._model, self._runner.batch, self._config.fit.context_length)

    def _take(self, frame: ipc.ToWorker) -> None:
        match frame:
            case ipc.Credit(ticket=ticket, tokens=tokens):
                if ticket in self._requests:
                    self._requests[ticket].take_credit(tokens)
            case ipc.Generate():
                self._begin(frame)
            case ipc.Cancel(ticket=ticket):
                if ticket in self._requests:
                    self._end(self._requests[ticket], "cancelled")
                self._extra.cancel(ticket)
            case ipc.Count(ticket=ticket, messages=messages, template_options=options):
                self._answer(ticket, lambda: ipc.TokenCount(ticket, self._prompts.count(messages, options)))
            case ipc.Score(ticket=ticket) | ipc.Embed(ticket=ticket):
                work = frame
                self._answer(ticket, lambda: self._extra.submit(work))
            case ipc.Measure(ticket=ticket):
                if self._scheduler.idle:
                    self.speed = self._measure()
                self._send(ipc.Measured(ticket, *self.speed))
            case ipc.Ping():
                self._send(ipc.Pong(self._runner.pacer.step_s()))
            case ipc.Quit():
                self._quit = True
            case ipc.Load():
                raise EngineError("A worker loads one model only.", code="engine_crashed")

    def _begin(self, frame: ipc.Generate) -> None:
        def begin() -> None:
            prompt = self._prompts.tokens(frame.messages, frame.template_options)
            if not prompt:
                raise EngineError("The model's chat template makes nothing of this conversation.", code="bad_request")
            max_output_tokens = self._scheduler.max_output_for(len(prompt), frame.max_tokens)
            output = RequestOutput(
                frame,
                vocabulary=self._model.vocabulary,
                max_output_tokens=max_output_tokens,
                thinking=self._thinking,
                marks=self._marks,
                opened=self._is_opened_by(prompt, frame.messages[-1]),
            )
            request = ActiveRequest(
                ticket=frame.ticket,
                tokens=prompt,
                max_output_tokens=max_output_tokens,
                key=frame.cache_key,
                arrived_at=time.perf_counter() - PRIORITY_SECONDS * frame.priority,
                output=output,
                credit=self._config.limits.window_tokens,
            )
            try:
                self._scheduler.submit(request)
            except EngineError:
                output.close()
                raise
            self._requests[frame.ticket] = request

        self._answer(frame.ticket, begin)
        # At once: of two requests that arrive together, the first must not look like a queue to the second.
        self._admit()

    def _is_opened_by(self, prompt: list[int], last: ChatMessage) -> bool:
        """Whether a prompt ends inside thinking; one that ends in the assistant's message may have begun before."""
        form = self._thinking
        if form is None:
            return False
        if last.role == "assistant" and last.content.rfind(form.begin) > last.content.rfind(form.end):
            return True
        # A marker has no more tokens than bytes; some white space may follow it.
        return form.is_opened_by(self._model.vocabulary.end_of(prompt, len(form.begin.encode()) + _SPACE_TOKENS))

    def _answer(self, ticket: int, work: Callable[[], ipc.FromWorker | None]) -> None:
        try:
            frame = work()
        except EngineError as error:
            frame = ipc.Refused(ticket, error.code, error.message, error.fix)
        if frame is not None:
            self._send(frame)

    def _admit(self) -> None:
        for request in self._scheduler.admit():
            if not request.begun_at:
                request.begun_at = time.perf_counter()
                self._send(ipc.Began(request.ticket, request.prompt_tokens))

    def _step(self) -> bool:
        """Compute one batch and draw what can be drawn; returns whether there was anything to do."""
        done = self._runner.step()
        if done is None:
            return False
        drawing, failed = done
        for one in failed:
            self._fail(one, EngineError("llama.cpp could not run a batch.", code="engine_failed", fix="Try again."))
        context, piece_of, clock = self._model.context, self._model.vocabulary.piece, time.perf_counter
        sent_at = clock()
        is_due = self._is_due(sent_at)
        if is_due and any(one.output.has_unsent for one in drawing):
            self._flush(beside_drawing=True)
            is_due = False
        for one in drawing:
            if is_due and clock() - sent_at >= self._worth_sending_s:
                self._flush(beside_drawing=True)
                sent_at = self._flushed_at
            try:
                token = one.output.draw(context, one.row)
            except EngineError as error:
                self._fail(one, error)
            else:
                self._accept(one, token, piece_of(token))
        self._urgent |= is_due
        return True

    def _is_due(self, now: float) -> bool:
        """Whether text has been gathered for long enough."""
        return now - self._flushed_at >= self._flush_s * gathering(len(self._requests))

    def _accept(self, one: ActiveRequest, token: int, piece: bytes | None) -> None:
        if not one.sampled:
            one.first_at = time.perf_counter()
            self._urgent = self._has_first_text = True
        one.sampled += 1
        if piece is None:
            piece = one.output.beyond_end(token)
        if piece is None:
            self._end(one, "stop")
            return
        one.tokens.append(token)
        one.take_credit(-one.output.take(piece, token))
        if one.output.stopped:
            self._end(one, "stop")
        elif one.sampled >= one.max_output_tokens:
            self._end(one, "length")

    def _end(self, one: ActiveRequest, reason: FinishReason) -> None:
        one.output.finish()
        self._send_text(one)
        now = time.perf_counter()
        first = one.first_at or now
        prefill_ms = (first - one.begun_at) * 1000 if one.begun_at else 0.0
        decode_ms = (now - first) * 1000
        self._send(ipc.Ended(one.ticket, reason, one.prompt_tokens, one.output_tokens, prefill_ms, decode_ms))
        self._drop(one)

    def _drop(self, one: ActiveRequest) -> None:
        one.output.close()
        del self._requests[one.ticket]
        self._scheduler.release(one)

    def _fail(self, one: ActiveRequest, error: EngineError) -> None:
        self._send_text(one)
        self._send(ipc.Refused(one.ticket, error.code, error.message, error.fix))
        self._drop(one)

    def _send(self, frame: ipc.FromWorker) -> None:
        self._out.append(frame)
        self._urgent = True

    def _send_text(self, one: ActiveRequest) -> None:
        for frame in one.output.frames(one.ticket):
            self._out.append(frame)
            one.output_tokens += frame.tokens

    def _flush(self, *, beside_drawing: bool = False) -> None:
        for one in self._requests.values():
            if one.output.has_unsent:
                self._send_text(one)
        if self._out:
            self._connection.send(self._out)
            self._out.clear()
            if self._has_first_text and not beside_drawing and self._model.threads.batch >= self._cores:
                time.sleep(_AFTER_FIRST_TEXT_SECONDS)
        self._urgent = self._has_first_text = False
        self._flushed_at = time.perf_counter()
