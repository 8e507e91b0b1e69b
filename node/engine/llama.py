"""llama.cpp in a child process that may crash, hang or be killed without the app noticing more than an error."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from node.engine import frames as wire
from node.engine.checks import check_messages, check_request, check_texts, effective_seed
from node.engine.formats import Formats
from node.engine.loading import LoadSettings, Prepared, prepare
from node.engine.placement import Placement
from node.engine.process import WorkerProcess
from node.engine.protocol import (
    ChatMessage,
    Chunk,
    Embeddings,
    EngineError,
    EngineEvent,
    EngineInfo,
    Finished,
    GenerateRequest,
    Scored,
)
from node.engine.questions import embeddings, generate_frame, score_question
from node.engine.stream import Stream
from node.engine.tuning import TuningCache
from node.engine.watchdog import LEAST_STALL_SECONDS, Watchdog, silence_s
from node.models.digest import DigestCache
from node.models.fit import Fit
from node.models.gguf import ModelError, printable

DEFAULT_SLOTS = 4
MAX_SLOTS = 64
DEFAULT_QUEUE = 16
WINDOW_TOKENS = 256
FLUSH_MS = 50.0
"""Text is gathered for so long: each piece is sealed, relayed, opened and drawn at a price, and eyes need no more."""
MAX_BACKOFF_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
MAX_FAILED_LOADS = 3

_Answer = wire.Counted | wire.Measured | wire.ScoreDone | wire.EmbedDone
StateName = Literal["starting", "ready", "restarting", "failed", "closed"]


class EngineState(msgspec.Struct, frozen=True):
    """Where an engine stands, and why in one line."""

    name: StateName
    why: str = ""


class LlamaEngine:
    """An `Engine` over one GGUF file.

    Use it as an async context manager, or call `start` and `close`.

    Args:
        model_path: The GGUF file.
        name: What the model is called in offers; by default what the file says.
        log_path: Where the worker's output goes.
        context_length: Tokens a request may have, prompt and answer together; by default the model's, up to 4096.
        slots: Requests that run at once.
        queue_limit: Requests that may wait for a slot.
        threads: Processor threads; by default what is measured to be fastest, or, without `tuning`, the physical cores
            and fewer for a small model.
        gpu_layers: Layers computed on a GPU, if llama.cpp was built for one; -1 for all.
        placement: The cache's form, and how several GPUs share the model.
        share_prefixes: Whether requests with different cache keys may reuse each other's prompt prefixes.
        tuning: Where measured numbers of threads are remembered.
        digest_cache: Where the model's SHA-256 is remembered.
        on_state: Called on the loop whenever `state` changes.
        stall_seconds: The least silence after which a worker is looked at; one that doesn't get on is ended.
        backoff_seconds: The wait before the first restart; it doubles with every failure in a row.
        window_tokens: Tokens that an answer may be ahead of its reader.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, with a default
        self,
        model_path: Path,
        *,
        log_path: Path,
        name: str | None = None,
        context_length: int | None = None,
        slots: int = DEFAULT_SLOTS,
        queue_limit: int = DEFAULT_QUEUE,
        threads: int | None = None,
        gpu_layers: int = -1,
        placement: Placement | None = None,
        share_prefixes: bool = False,
        tuning: TuningCache | None = None,
        digest_cache: DigestCache | None = None,
        on_state: Callable[[EngineState], None] | None = None,
        stall_seconds: float = LEAST_STALL_SECONDS,
        backoff_seconds: float = 1.0,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise EngineError(f"An engine has 1 to {MAX_SLOTS} slots.", code="bad_request")
        self._settings = LoadSettings(
            model_path=model_path,
            context_length=context_length,
            slots=slots,
            queue_limit=queue_limit,
            threads=threads,
            gpu_layers=gpu_layers,
            window_tokens=window_tokens,
            flush_ms=FLUSH_MS,
            share_prefixes=share_prefixes,
            placement=placement if placement is not None else Placement(),
        )
        self._tuning = tuning
        self._log_path = log_path
        self._name = name
        self._digests = digest_cache if digest_cache is not None else DigestCache()
        self._on_state = on_state
        self._stall_seconds = stall_seconds
        self._backoff_seconds = backoff_seconds
        self._state = EngineState("closed", "It was not started yet.")
        self._worker: WorkerProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._digest: asyncio.Task[str] | None = None
        self._stop_digest = threading.Event()
        self._last_end = ""
        self._stalled = False
        self._watchdog = Watchdog(stall_seconds, 0)
        self._prepared: Prepared | None = None
        self._ready: wire.Ready | None = None
        self._facts: wire.Ready | None = None
        self._speed = (0.0, 0.0)
        self._failure: EngineError | None = None
        self._load_error: EngineError | None = None
        self._gone = asyncio.Event()
        self._loaded = asyncio.Event()
        self._settled = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._by_id: dict[str, Stream] = {}
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        self._next_ticket = 0
        self._formats = Formats()

    @property
    def state(self) -> EngineState:
        """Where the engine stands."""
        return self._state

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, if there is one."""
        return None if self._worker is None else self._worker.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Load the model; returns once it can be used.

        Raises:
            EngineError: With ``model_unusable`` or ``model_too_big``, or ``engine_crashed`` if the worker died.
        """
        if self._supervisor is not None:
            return
        self._failure = None
        self._settled.clear()
        self._set_state("starting")
        self._supervisor = asyncio.create_task(self._supervise(), name="engine supervisor")
        try:
            await self._settled.wait()
        except asyncio.CancelledError:
            await self.close()
            raise
        if (failure := self._first_failure()) is not None:
            await self._end_supervisor()
            raise failure

    def _first_failure(self) -> EngineError | None:
        return self._failure

    async def close(self) -> None:
        """End the worker and everything it owns; running requests fail with ``engine_closed``."""
        if self._state.name == "closed" and self._supervisor is None:
            return
        closed = EngineError("The engine was closed.", code="engine_closed")
        self._set_state("closed", "It was closed.")
        self._fail_everything(closed)
        await self._end_supervisor()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run one request; see `Engine.generate`."""
        _, fit = self._usable()
        check_request(request, fit.context_length, self._vocabulary_size())
        grammar = await self._formats.grammar(request.response_format)
        worker, _ = self._usable()
        if request.request_id in self._by_id:
            raise EngineError("A request with this id is already running.", code="bad_request")
        seed = effective_seed(request.sampling.seed)
        stream = Stream(
            self._ticket(), request.request_id, seed, self._settings.window_tokens, _work_tokens(request, fit)
        )
        self._streams[stream.ticket] = self._by_id[request.request_id] = stream
        try:
            worker.send(generate_frame(stream.ticket, request, seed, grammar))
            while True:
                event = await stream.next()
                yield event
                if isinstance(event, Finished):
                    return
                if isinstance(event, Chunk) and (tokens := stream.credit_for(event)):
                    worker.send(wire.Credit(stream.ticket, tokens))
        finally:
            del self._streams[stream.ticket], self._by_id[request.request_id]
            if not stream.over:
                worker.send(wire.Cancel(stream.ticket))

    def silence_s(self) -> float:
        """How long a request may hear nothing while all is well: from measured speed, and from what was asked for."""
        work_tokens = sum(stream.work_tokens for stream in self._streams.values())
        return silence_s(self._watchdog.deadline_s, work_tokens, self._speed[0])

    async def cancel(self, request_id: str) -> None:
        """Stop a running request between two tokens; unknown ids are ignored."""
        stream = self._by_id.get(request_id)
        if stream is not None and not stream.over and self._worker is not None:
            self._worker.send(wire.Cancel(stream.ticket))

    async def count(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of this conversation after the chat template."""
        _, fit = self._usable()
        conversation = tuple(messages)
        check_messages(conversation, fit.context_length)
        answer = await self._ask(lambda ticket: wire.Count(ticket, conversation))
        assert isinstance(answer, wire.Counted)
        return answer.tokens

    async def score(
        self, prompt: Sequence[ChatMessage] | Sequence[int], completion: str | Sequence[int], top_k: int = 0
    ) -> Scored:
        """Log-probabilities of a given completion; see `Engine.score`."""
        _, fit = self._usable()
        question = score_question(prompt, completion, top_k, fit.context_length, self._vocabulary_size())
        answer = await self._ask(question)
        assert isinstance(answer, wire.ScoreDone)
        return Scored(input_tokens=answer.input_tokens, tokens=answer.tokens)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector for each text; see `Engine.embed`."""
        _, fit = self._usable()
        wanted = tuple(texts)
        check_texts(wanted, fit.context_length)
        answer = await self._ask(lambda ticket: wire.Embed(ticket, wanted))
        assert isinstance(answer, wire.EmbedDone)
        return embeddings(answer)

    async def measure(self) -> EngineInfo:
        """Measure the speed again, unless requests are running, and say what was measured last."""
        answer = await self._ask(wire.Measure)
        assert isinstance(answer, wire.Measured)
        self._speed = (answer.tokens_per_s, answer.ttft_ms)
        return await self.info()

    async def info(self) -> EngineInfo:
        """What is loaded; waits for the model's digest, which is computed once."""
        facts, prepared = self._facts, self._prepared
        if self._failure is not None or facts is None or prepared is None or self._digest is None:
            raise self._failure or self._unavailable()
        try:
            sha256 = await asyncio.shield(self._digest)
        except OSError as error:
            raise ModelError(f"The model file can't be read: {error.strerror}.") from error
        return EngineInfo(
            model_name=self._name or prepared.gguf.name,
            model_sha256=sha256,
            architecture=prepared.gguf.architecture,
            quantization=prepared.gguf.quantization,
            parameters=prepared.gguf.parameters,
            context_length=prepared.fit.context_length,
            slots=self._settings.slots,
            vocabulary_size=facts.vocabulary_size,
            model_bytes=prepared.gguf.file_bytes,
            engine_build=facts.engine_build,
            backend=facts.backend,
            tokens_per_s=self._speed[0],
            ttft_ms=self._speed[1],
            chats=facts.chats,
            embedding_length=facts.embedding_length,
        )

    # -- the worker's life ------------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        """Keep a worker running: start it, wait for its end, start it again after a pause."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            self._load_error = None
            was_ready = False
            try:
                was_ready = await self._run_worker()
                error = self._load_error or self._crash()
            except EngineError as refused:
                error = refused
            if was_ready and loop.time() - began >= HEALTHY_SECONDS:
                failures = 0
            failures += 1
            self._fail_everything(error)
            hopeless = isinstance(error, ModelError) or self._load_error is not None
            if self._state.name == "starting" or hopeless or (not was_ready and failures >= MAX_FAILED_LOADS):
                self._failure = error
                self._set_state("failed", self._explain(error))
                self._settled.set()
                return
            self._set_state("restarting", self._explain(error))
            await asyncio.sleep(min(MAX_BACKOFF_SECONDS, self._backoff_seconds * 2 ** (failures - 1)))

    async def _run_worker(self) -> bool:
        """Run one worker from start to end; returns whether it became ready."""
        self._prepared = prepared = await asyncio.to_thread(prepare, self._settings, self._tuning)
        if self._digest is None or (self._digest.done() and self._digest.exception() is not None):
            self._stop_digest.clear()
            work = asyncio.to_thread(self._digests.sha256, self._settings.model_path, self._stop_digest)
            self._digest = asyncio.create_task(work, name="model digest")
        self._gone.clear()
        self._loaded.clear()
        self._ready = None
        self._stalled = False
        self._watchdog = Watchdog(self._stall_seconds, prepared.gguf.file_bytes)
        self._worker = worker = await WorkerProcess.start(self._log_path, self._take, self._gone.set)
        try:
            worker.send(prepared.load)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(worker, self._watchdog))
                remembering = tasks.create_task(self._remember_threads(prepared))
                await self._gone.wait()
                watching.cancel()
                remembering.cancel()
        finally:
            self._worker = None
            # One that still loads would not look up to hear that it should quit.
            orderly = self._state.name == "closed" and self._ready is not None
            await (worker.stop() if orderly else worker.kill())
        self._last_end = worker.describe_end()
        return self._ready is not None

    async def _watch(self, worker: WorkerProcess, watchdog: Watchdog) -> None:
        """Have a worker ended that neither answers nor gets on."""
        await watchdog.until_stalled(worker, asyncio.get_running_loop().time)
        self._stalled = True
        self._gone.set()

    def _explain(self, error: EngineError) -> str:
        """What the owner of this machine should know."""
        return error.line() if isinstance(error, ModelError) else f"{error.message} Its log is {self._log_path}."

    def _crash(self) -> EngineError:
        if self._stalled:
            message = f"The engine worker gave no sign of life for {self._watchdog.silent_s:.3g} s and was ended."
        else:
            message = f"The engine worker ended unexpectedly ({self._last_end})."
        # This error may travel to a buyer, who has no business with paths of this machine.
        return EngineError(message, code="engine_crashed", fix="Try again in a moment.")

    async def _end_supervisor(self) -> None:
        self._stop_digest.set()
        for task in (self._supervisor, self._digest):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task
        self._supervisor = self._digest = None

    # -- frames -----------------------------------------------------------------------------------------------------

    def _take(self, frame: wire.FromWorker) -> None:
        match frame:
            case wire.Text() | wire.Began() | wire.Ended() | wire.Refused():
                stream = self._streams.get(frame.ticket)
                if stream is not None:
                    stream.put(frame)
                elif isinstance(frame, wire.Refused):
                    self._answer(frame.ticket, EngineError(frame.message, code=frame.code, fix=frame.fix))
            case wire.Counted() | wire.Measured() | wire.ScoreDone() | wire.EmbedDone():
                self._answer(frame.ticket, frame)
            case wire.Ready():
                self._ready = self._facts = frame
                self._speed = (frame.tokens_per_s, frame.ttft_ms)
                self._watchdog.loaded = True
                self._set_state("ready")
                self._loaded.set()
                self._settled.set()
            case wire.LoadFailed():
                self._load_error = ModelError(
                    f"The model {printable(self._settings.model_path.name)} can't be used: {frame.message}",
                    code=frame.code,
                    fix=f"Choose another model; the log is {self._log_path}.",
                )
            case wire.Pong():
                self._watchdog.step_s = frame.step_s
            case wire.Loading():
                pass

    async def _remember_threads(self, prepared: Prepared) -> None:
        await self._loaded.wait()
        ready, tuning = self._ready, self._tuning
        if tuning is not None and ready is not None and prepared.load.try_threads and ready.threads.single:
            await asyncio.to_thread(tuning.put, prepared.tuning_key, ready.threads)

    def _answer(self, ticket: int, answer: _Answer | EngineError) -> None:
        waiting = self._answers.get(ticket)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, EngineError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    async def _ask(self, question: Callable[[int], wire.ToWorker]) -> _Answer:
        worker, _ = self._usable()
        ticket = self._ticket()
        self._answers[ticket] = asyncio.get_running_loop().create_future()
        try:
            worker.send(question(ticket))
            return await self._answers[ticket]
        except asyncio.CancelledError:
            worker.send(wire.Cancel(ticket))
            raise
        finally:
            del self._answers[ticket]

    def _vocabulary_size(self) -> int:
        assert self._facts is not None
        return self._facts.vocabulary_size

    def _ticket(self) -> int:
        self._next_ticket += 1
        return self._next_ticket

    def _usable(self) -> tuple[WorkerProcess, Fit]:
        if self._state.name != "ready" or self._worker is None or self._prepared is None:
            raise self._failure or self._unavailable()
        return self._worker, self._prepared.fit

    def _unavailable(self) -> EngineError:
        if self._state.name == "closed":
            return EngineError("The engine is closed.", code="engine_closed")
        state = "restarting" if self._state.name == "ready" else self._state.name
        return EngineError(f"The engine is {state}.", code="engine_crashed", fix="Try again in a moment.")

    def _fail_everything(self, error: EngineError) -> None:
        for stream in self._streams.values():
            stream.fail(error)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _set_state(self, name: StateName, why: str = "") -> None:
        if self._state.name == "closed" and name not in ("starting", "closed"):
            return
        self._state = EngineState(name, why)
        if self._on_state is not None:
            self._on_state(self._state)


def _work_tokens(request: GenerateRequest, fit: Fit) -> int:
    """Tokens that a request may take at most: a token has a byte at least."""
    prompt_bytes = sum(len(message.content.encode()) for message in request.messages)
    return min(prompt_bytes + request.max_tokens, fit.context_length)
