"""`UpstreamEngine`: an `Engine` over any OpenAI-compatible server, with its health watched and its tokens counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from chain.logs import get_logger
from node.engine.checks import check_messages, check_request, check_texts, effective_seed
from node.engine.formats import Formats, Notation
from node.engine.protocol import Embeddings, EngineError, EngineEvent, EngineInfo, GenerateRequest, Scored
from node.engine.state import EngineState
from node.engine.upstream import answers as a
from node.engine.upstream import dialect as d
from node.engine.upstream.capabilities import NO_CAPABILITIES, Capabilities, check_supported, not_here
from node.engine.upstream.capability_probe import CapabilityProbe, MeasuredSpeed
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.context_trial import ContextSeen, ContextTrial
from node.engine.upstream.counting import PromptCounter
from node.engine.upstream.embedding import embed_texts
from node.engine.upstream.exclusive import ExclusiveAccess
from node.engine.upstream.health import CLOSED, UpstreamHealth
from node.engine.upstream.identification import check_model, server_info
from node.engine.upstream.limits import UpstreamLimits
from node.engine.upstream.logprobs import LogprobReader
from node.engine.upstream.refusals import DroppedError, UpstreamError, request_refusal
from node.engine.upstream.server import Server
from node.engine.upstream.streaming import RunningStream, Streams
from node.values.inference import NO_OPTIONS, ChatMessage, TemplateOptions
from node.values.public import public_name

log = get_logger(__name__)

UNKNOWN_CONTEXT: Final = 2_048
"""For a server that does not report its context: llama_cpp.server's own default, and small enough for any other."""


class UpstreamEngine:
    """An engine that passes requests to another server.

    Use it as an async context manager, or call `start` and `close`. While the upstream is away, refuses this node or
    lost its model, `state` says so and why, requests are refused, and it comes back by itself.

    Args:
        url: The server's OpenAI base address, as in ``http://host:8000/v1``.
        model: The model's name there.
        name: What it is called in public; by default its name there, or the file's if that is a path.
        key: A bearer token, or ``""``.
        slots: Requests that run at once, if the server reports no smaller number.
        context_length: Tokens a request may have in all; by default what the server reports.
        on_state: Called on the loop whenever `state` changes.
        limits: How long it is waited for.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str = "",
        key: str = "",
        slots: int = 4,
        context_length: int | None = None,
        on_state: Callable[[EngineState], None] | None = None,
        limits: UpstreamLimits = UpstreamLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._client = UpstreamClient(url, key)
        self._limits = limits
        self._model = model
        self._name = name or public_name(model)
        self._slots = slots
        self._context_length = context_length
        self._health = UpstreamHealth(on_state, limits.watch_s)
        self._access = ExclusiveAccess()
        self._counter = PromptCounter(self._client, model, self._access, limits.count_s)
        self._streams = Streams(self._client, self._access, self._counter, limits)
        self._formats = Formats()
        self._server_info: a.ServerInfo | None = None
        self._context_seen = ContextSeen()
        self._is_context_doubted = True
        self._capabilities: Capabilities | None = None
        self._speed = MeasuredSpeed()
        self._running: dict[str, RunningStream] = {}
        self._watcher: asyncio.Task[None] | None = None

    @property
    def state(self) -> EngineState:
        """The state of the engine, and why."""
        return self._health.state

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Identify the server and try it once; returns when it can be rented out. One that still loads is waited for.

        Raises:
            EngineError: With the owner's line, if it can't be reached, refuses this node, or lacks the model.
        """
        if self._watcher is not None:
            return
        self._health.become("starting")
        try:
            await self._client.open()
            await self._until_loaded()
            with contextlib.suppress(UpstreamError):  # too busy now: the watch tries again
                await self._try_capabilities()
        except UpstreamError as error:
            await self.close()
            raise EngineError(error.owner, code=error.code, fix=error.owner_fix) from error
        except BaseException:
            await self.close()
            raise
        self._health.become("ready", self._health.note)
        self._watcher = asyncio.create_task(
            self._health.watch(self._look, lambda: self._access.is_taken), name="upstream watcher"
        )

    async def close(self) -> None:
        """End every request and connection; running requests fail with ``engine_closed``."""
        self._health.become("closed", "It was closed.")
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        for running in self._running.values():
            running.close()
        await self._client.close()

    async def info(self) -> EngineInfo:
        """What is rented out; the model's digest is made of its name, since there is no file to hash."""
        info = self._known()
        return EngineInfo(
            model_name=self._name,
            model_sha256=d.model_id(self._name),
            architecture="upstream",
            quantization="unknown",
            parameters=0,
            context_length=self._context(),
            slots=min(self._slots, info.slots or self._slots),
            vocabulary_size=0,
            engine_build=" ".join(filter(None, ("upstream", info.dialect.name, info.version))),
            backend="upstream",
            tokens_per_s=self._speed.tokens_per_s,
            ttft_ms=self._speed.ttft_ms,
            template_tokens=self._speed.prompt_tokens,
            embedding_length=self._can().vector_length,
            abilities=d.abilities(info.dialect),
        )

    async def count(self, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> int:
        """Tokens of this conversation after the server's own chat template, as the server counts them.

        Raises:
            EngineError: If the server is away or refuses the conversation.
        """
        conversation = tuple(messages)
        self._health.check_usable()
        check_messages(conversation, self._context())
        fields = d.template_fields(self._known().dialect, options)
        held_tokens = self._context() if self._known().dialect.drops_prompts else None
        try:
            return await self._counter.count(conversation, fields, held_tokens=held_tokens)
        except UpstreamError as error:
            self._noticed(error)
            raise

    async def score(
        self, prompt: Sequence[ChatMessage] | Sequence[int], completion: str | Sequence[int], top_k: int = 0
    ) -> Scored:
        """Refused: no server can be asked for it in a way that is sound.

        llama-server reports nothing of a prompt's tokens. llama_cpp.server echoes them, without ids and with parts of
        characters left out. vLLM reports ids (``prompt_logprobs``), but each token as text decoded alone, which is not
        its bytes: a leading space is lost, a part of a character is replaced.

        Raises:
            EngineError: Always, with code ``bad_request``.
        """
        raise not_here("scoring a completion")

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector of length 1 for each text, pooled as the server pools, else by the mean over its tokens.

        Raises:
            EngineError: If the server makes no embeddings, is away, or a text is too long for it.
        """
        self._health.check_usable()
        length = self._can().vector_length
        if not length:
            raise not_here("embedding texts")
        check_texts(texts, self._context())
        if not all(texts):
            raise EngineError("An empty text has no embedding.", code="bad_request")
        try:
            return await embed_texts(self._server(), texts, length=length, context_length=self._context())
        except UpstreamError as error:
            self._health.noticed(error)
            raise

    async def cancel(self, request_id: str) -> None:
        """Stop a running request; its stream ends with ``Finished(reason="cancelled")``."""
        running = self._running.get(request_id)
        if running is not None:
            running.cancel()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run one request; see `Engine.generate`."""
        self._health.check_usable()
        check_request(request, self._context())
        check_supported(request, self._can())
        if request.request_id in self._running:
            raise EngineError("A request with this id is already running.", code="bad_request")
        running = self._running[request.request_id] = RunningStream()
        try:
            # A schema that our own engines could not hold a model to is refused here too: servers drop such keywords.
            dialect = self._known().dialect
            notation: Notation = "gbnf" if dialect.format_way == "grammar" else "lark"
            grammar = await self._formats.grammar(request.response_format, notation)
            body = d.chat_body(dialect, self._model, request, effective_seed(request.sampling.seed), grammar)
            told = None
            if request.logprobs is not None:
                told = LogprobReader(request.logprobs, ids_as_tokens=dialect.ids_as_tokens)
            input_tokens = await self.count(request.messages, request.template_options)
            if input_tokens >= self._context():  # the server would cut it, or break off
                raise request_refusal("context", "The prompt is longer than the context that is offered.")
            events = self._streams.events(request, body, running, input_tokens=input_tokens, told=told)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event
        except UpstreamError as error:
            if self.state.name == "closed":
                raise EngineError("The engine was closed.", code="engine_closed") from None
            self._noticed(error)
            raise
        finally:
            del self._running[request.request_id]

    # -- what the upstream is ---------------------------------------------------------------------------------------

    async def _until_loaded(self) -> None:
        """Identify the server and measure it; `state` says what is waited for.

        Raises:
            UpstreamError: If it can't be rented out, or doesn't get ready in time.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._limits.load_wait_s
        while True:
            try:
                self._learn(await server_info(self._client, self._model))
                self._speed = await self._probe().speed(load_s=max(self._limits.count_s, end_s - loop.time()))
                await self._see_context()
                return
            except UpstreamError as error:
                left_s = end_s - loop.time()
                if not error.is_starting or left_s <= 0:
                    raise
                log.info("upstream_waited_for", error=error.owner_line())
                self._health.become("starting", f"{error.owner} It is waited for.")
                await asyncio.sleep(min(left_s, error.retry_after_s or self._limits.load_pause_s))

    def _noticed(self, error: UpstreamError) -> None:
        """A request failed: the server is checked, and its context if it drops a part of a prompt."""
        if isinstance(error, DroppedError):
            log.warning("upstream_prompt_dropped", error=error.owner_line())
            self._is_context_doubted = True
            self._health.look_soon()
        self._health.noticed(error)

    def _learn(self, info: a.ServerInfo) -> None:
        check_model(self._model, info.models)
        if info.context_length is None and self._context_length is None:
            log.warning("upstream_context_unknown", assumed_tokens=UNKNOWN_CONTEXT)
        self._server_info = info
        self._access.one_at_a_time = info.dialect.one_at_a_time
        self._counter.learn(info.dialect)

    def _server(self) -> Server:
        return Server(client=self._client, access=self._access, dialect=self._known().dialect, model=self._model)

    def _probe(self) -> CapabilityProbe:
        return CapabilityProbe(self._server(), self._streams, self._counter, self._formats)

    async def _try_capabilities(self) -> None:
        """See what it can do beyond answering in text.

        Raises:
            UpstreamError: With code ``engine_busy`` if it has no time to be tried.
        """
        self._capabilities = await self._probe().capabilities()
        self._streams.opened = self._capabilities.opened_pair
        log.info("upstream_capabilities_found", capabilities=self._capabilities.described())

    async def _look(self) -> None:
        """Ask whether the server is there; after an absence, identify it and try its capabilities again."""
        if self.state.name == "ready":
            async with self._access.held():
                check_model(self._model, a.read_models(await self._client.models()).names)
            if self._is_context_doubted:
                await self._see_context()
            if self._capabilities is None:
                await self._try_capabilities()
            return
        async with self._access.held():
            self._learn(await server_info(self._client, self._model))
        await self._see_context()
        self._capabilities = None
        with contextlib.suppress(UpstreamError):
            await self._try_capabilities()

    async def _see_context(self) -> None:
        """See how much of its context it really takes.

        Raises:
            UpstreamError: If it can't be rented out.
        """
        self._is_context_doubted = True
        told = self._known()
        if told.context_length is None and told.dialect.loads_late:
            # Only of a loaded model does it tell the context, and now it is loaded.
            async with self._access.held():
                self._learn(await server_info(self._client, self._model))
        try:
            offered = self._told_context()
            seen = await ContextTrial(self._server(), self._limits).seen(offered)
        except UpstreamError as error:
            if error.code == "engine_busy":  # the watch tries again
                return
            raise
        self._context_seen, self._is_context_doubted, self._health.note = seen, False, ""
        if seen.held_tokens is not None:
            fix = self._known().dialect.context_fix
            self._health.note = f"The context is cut from {offered} to {seen.held_tokens} tokens: {seen.how}. {fix}"
            log.warning("upstream_context_cut", held_tokens=seen.held_tokens, told_tokens=offered, how=seen.how)

    def _can(self) -> Capabilities:
        return self._capabilities or NO_CAPABILITIES

    def _known(self) -> a.ServerInfo:
        if self._server_info is None:
            raise EngineError(CLOSED, code="engine_closed")
        return self._server_info

    def _context(self) -> int:
        seen = self._context_seen.held_tokens
        return self._told_context() if seen is None else min(seen, self._told_context())

    def _told_context(self) -> int:
        told, wanted = self._known().context_length, self._context_length
        return min(length for length in (wanted or told or UNKNOWN_CONTEXT, told) if length is not None)
