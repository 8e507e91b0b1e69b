"""llama.cpp in a child process that may crash, hang or be killed without the app noticing more than an error."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from node.engine import ipc
from node.engine.checks import check_messages, check_request, check_texts, effective_seed
from node.engine.formats import Formats
from node.engine.loading import THIS_MACHINE, HostMachine, Prepared, prepare
from node.engine.options import EngineOptions, StreamLimits, check_options
from node.engine.process import DEFAULT_LIFECYCLE, Lifecycle
from node.engine.protocol import Chunk, Embeddings, EngineEvent, EngineInfo, Finished, GenerateRequest, Scored
from node.engine.questions import embeddings, generate_frame, score_question
from node.engine.requests import PendingRequests
from node.engine.state import EngineState
from node.engine.supervisor import Supervisor
from node.engine.tuning import TuningCache
from node.engine.watchdog import silence_s
from node.models.digest import DigestCache
from node.models.fit import Fit
from node.values.inference import NO_OPTIONS, ChatMessage, TemplateOptions, content_bytes
from node.values.public import public_name


class LlamaEngine:
    """An `Engine` over one GGUF file.

    Use it as an async context manager, or call `start` and `close`.

    Args:
        model_path: The GGUF file.
        options: How it is loaded and shared among requests.
        log_path: Where the worker's output goes.
        name: What the model is called in offers; by default what the file says.
        limits: How many requests wait, and how far text goes ahead of its reader.
        tuning: Where measured numbers of threads are remembered; without it none are measured.
        digest_cache: Where the model's SHA-256 is remembered.
        on_state: Called on the loop whenever `state` changes.
        machine: What the memory and the threads are planned for.
        lifecycle: How the worker's process is started, watched, ended, and started again.

    Raises:
        EngineError: With code ``bad_request`` if an option is outside its bounds.
    """

    def __init__(  # noqa: PLR0913 - collaborators and limits, each with a default
        self,
        model_path: Path,
        options: EngineOptions | None = None,
        *,
        log_path: Path,
        name: str | None = None,
        limits: StreamLimits | None = None,
        tuning: TuningCache | None = None,
        digest_cache: DigestCache | None = None,
        on_state: Callable[[EngineState], None] | None = None,
        machine: HostMachine = THIS_MACHINE,
        lifecycle: Lifecycle = DEFAULT_LIFECYCLE,
    ) -> None:
        self._options = options if options is not None else EngineOptions()
        self._limits = limits if limits is not None else StreamLimits()
        check_options(self._options)
        self._name = name
        self._formats = Formats()
        self._requests = PendingRequests()
        self._supervisor = Supervisor(
            model_path,
            functools.partial(prepare, model_path, self._options, self._limits, tuning, machine=machine),
            self._requests,
            log_path=log_path,
            lifecycle=lifecycle,
            tuning=tuning,
            digests=digest_cache if digest_cache is not None else DigestCache(),
            on_state=on_state,
        )

    @property
    def state(self) -> EngineState:
        """The state of the engine, and why."""
        return self._supervisor.state

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, if there is one."""
        worker = self._supervisor.worker
        return None if worker is None else worker.pid

    @property
    def prepared(self) -> Prepared | None:
        """The model as it was looked at before it was loaded, and how; ``None`` before that."""
        return self._supervisor.prepared

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
        await self._supervisor.start()

    async def close(self) -> None:
        """End the worker and everything it owns; running requests fail with ``engine_closed``."""
        await self._supervisor.close()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run one request; see `Engine.generate`."""
        _, fit = self._supervisor.usable()
        check_request(request, fit.context_length, self._vocabulary_size())
        grammar = await self._formats.grammar(request.response_format)
        worker, _ = self._supervisor.usable()
        seed = effective_seed(request.sampling.seed)
        stream = self._requests.open(
            request.request_id,
            seed=seed,
            window_tokens=self._limits.window_tokens,
            work_tokens=_work_tokens(request, fit),
        )
        try:
            worker.send(generate_frame(stream.ticket, request, seed, grammar))
            while True:
                event = await stream.next()
                yield event
                if isinstance(event, Finished):
                    return
                if isinstance(event, Chunk) and (tokens := stream.credit_for(event)):
                    worker.send(ipc.Credit(stream.ticket, tokens))
        finally:
            self._requests.close(stream)
            if not stream.over:
                worker.send(ipc.Cancel(stream.ticket))

    def silence_s(self) -> float:
        """How long a request may hear nothing while all is well: from measured speed, and from what was asked for."""
        tokens_per_s, _ = self._supervisor.speed
        return silence_s(self._supervisor.deadline_s, self._requests.work_tokens, tokens_per_s)

    async def cancel(self, request_id: str) -> None:
        """Stop a running request between two tokens; unknown ids are ignored."""
        stream, worker = self._requests.running(request_id), self._supervisor.worker
        if stream is not None and worker is not None:
            worker.send(ipc.Cancel(stream.ticket))

    async def count(self, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> int:
        """Tokens of this conversation after the chat template."""
        worker, fit = self._supervisor.usable()
        conversation = tuple(messages)
        check_messages(conversation, fit.context_length)
        answer = await self._requests.ask(worker, lambda ticket: ipc.Count(ticket, conversation, options))
        assert isinstance(answer, ipc.TokenCount)
        return answer.tokens

    async def score(
        self, prompt: Sequence[ChatMessage] | Sequence[int], completion: str | Sequence[int], top_k: int = 0
    ) -> Scored:
        """Log-probabilities of a given completion; see `Engine.score`."""
        worker, fit = self._supervisor.usable()
        question = score_question(prompt, completion, top_k, fit.context_length, self._vocabulary_size())
        answer = await self._requests.ask(worker, question)
        assert isinstance(answer, ipc.ScoreDone)
        return Scored(input_tokens=answer.input_tokens, tokens=answer.tokens)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector for each text; see `Engine.embed`."""
        worker, fit = self._supervisor.usable()
        wanted = tuple(texts)
        check_texts(wanted, fit.context_length)
        answer = await self._requests.ask(worker, lambda ticket: ipc.Embed(ticket, wanted))
        assert isinstance(answer, ipc.EmbedDone)
        return embeddings(answer)

    async def measure(self) -> EngineInfo:
        """Measure the speed again, unless requests are running, and say what was measured last."""
        worker, _ = self._supervisor.usable()
        answer = await self._requests.ask(worker, ipc.Measure)
        assert isinstance(answer, ipc.Measured)
        self._supervisor.speed = (answer.tokens_per_s, answer.ttft_ms)
        return await self.info()

    async def info(self) -> EngineInfo:
        """What is loaded; waits for the model's digest, which is computed once."""
        prepared, worker_info = self._supervisor.known()
        sha256 = await self._supervisor.sha256()
        tokens_per_s, ttft_ms = self._supervisor.speed
        return EngineInfo(
            model_name=self._name or public_name(prepared.gguf.name),
            model_sha256=sha256,
            architecture=prepared.gguf.architecture,
            quantization=prepared.gguf.quantization,
            parameters=prepared.gguf.parameters,
            context_length=prepared.fit.context_length,
            slots=self._options.slots,
            vocabulary_size=worker_info.vocabulary_size,
            engine_build=worker_info.engine_build,
            backend=worker_info.backend,
            tokens_per_s=tokens_per_s,
            ttft_ms=ttft_ms,
            chats=worker_info.chats,
            embedding_length=worker_info.embedding_length,
            abilities=worker_info.abilities,
            notes=worker_info.notes,
            template_tokens=worker_info.template_tokens,
        )

    def _vocabulary_size(self) -> int:
        worker_info = self._supervisor.worker_info
        assert worker_info is not None
        return worker_info.vocabulary_size


def _work_tokens(request: GenerateRequest, fit: Fit) -> int:
    """Tokens that a request may take at most: a token has a byte at least."""
    prompt_bytes = content_bytes(request.messages)
    return min(prompt_bytes + request.max_tokens, fit.context_length)
