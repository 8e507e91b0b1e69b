"""`UpstreamEngine`: an `Engine` over any OpenAI-compatible server, with its health watched and its tokens counted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from node.engine.checks import check_messages, check_request, effective_seed
from node.engine.protocol import (
    ChatMessage,
    Chunk,
    Embeddings,
    EngineError,
    EngineEvent,
    EngineInfo,
    Finished,
    FinishReason,
    GenerateRequest,
    Sampling,
    Scored,
    Started,
)
from node.engine.state import EngineState
from node.engine.upstream import dialect as d
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.errors import UpstreamError, again_fix, stalled
from node.engine.upstream.health import CLOSED, Health
from node.engine.upstream.meter import Rate, TokenMeter
from node.engine.upstream.probing import CountWay, check_model, count_by, facts_of, ways_to_count
from node.engine.upstream.sse import EventDecoder, Piece, read_piece

log = logging.getLogger(__name__)

UNKNOWN_CONTEXT: Final = 2_048
"""For a server that does not tell: llama_cpp.server's own default, and small enough for any other."""
STALL_S: Final = 120.0
WATCH_S: Final = 5.0
TURN_S: Final = 25.0
"""How long a request waits for its turn at a server that serves one at a time, before the buyer's patience ends."""
COUNTS_KEPT: Final = 256
TRIAL_TOKENS: Final = 24
_TRIAL: Final = (ChatMessage(role="user", content="Count from one to twenty."),)


class _Running:
    """One request under way."""

    def __init__(self) -> None:
        self.cancelled = False
        self._deadline: asyncio.Timeout | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def until(self, when_s: float) -> AsyncIterator[asyncio.Timeout]:
        """A wait that ends with ``TimeoutError`` at this time of the loop's, or at once when it is cancelled."""
        if self.cancelled:
            raise TimeoutError
        async with asyncio.timeout_at(when_s) as deadline:
            self._deadline = deadline
            try:
                yield deadline
            finally:
                self._deadline = None


class UpstreamEngine:
    """An engine that is somebody else's server.

    Use it as an async context manager, or call `start` and `close`. While the upstream is away, refuses this node or
    lost its model, `state` says so and why, requests are refused, and it comes back by itself.

    Args:
        url: The server's OpenAI base address, as in ``http://host:8000/v1``.
        model: The model's name there; it is the name in offers too.
        key: A bearer token, or ``""``.
        slots: Requests that run at once, if the server tells no smaller number.
        context_length: Tokens a request may have in all; by default what the server tells.
        on_state: Called on the loop whenever `state` changes.
        stall_seconds: A stream without an event for so long is given up.
        watch_seconds: How often a server is asked whether it is still there.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        slots: int = 4,
        context_length: int | None = None,
        on_state: Callable[[EngineState], None] | None = None,
        stall_seconds: float = STALL_S,
        watch_seconds: float = WATCH_S,
    ) -> None:
        self._client = UpstreamClient(url, key)
        self._model = model
        self._slots = slots
        self._context_length = context_length
        self._stall_s = stall_seconds
        self._health = Health(on_state, watch_seconds)
        self._facts: d.Facts | None = None
        self._ways: list[CountWay] = []
        self._rate = Rate()
        self._tokens_per_s = 0.0
        self._ttft_ms = 0.0
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._turn = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def state(self) -> EngineState:
        """Where the engine stands."""
        return self._health.state

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Ask the server who it is and try it once; returns when it can be rented out.

        Raises:
            EngineError: With the owner's line, if it can't be reached, refuses this node, or lacks the model.
        """
        if self._watcher is not None:
            return
        self._health.become("starting")
        try:
            await self._client.open()
            self._learn(await facts_of(self._client, self._model))
            await self._try_out()
        except UpstreamError as error:
            await self.close()
            raise EngineError(error.owner, code=error.code, fix=error.owner_fix) from error
        except BaseException:
            await self.close()
            raise
        self._health.become("ready")
        self._watcher = asyncio.create_task(self._health.watch(self._look, self._is_engaged), name="upstream watcher")

    async def close(self) -> None:
        """End every request and connection; running requests fail with ``engine_closed``."""
        self._health.become("closed", "It was closed.")
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        for running in self._running.values():
            running.cancel()
        await self._client.close()

    async def info(self) -> EngineInfo:
        """What is rented out; the model's digest stands for its name, as there is no file to hash."""
        facts = self._known()
        return EngineInfo(
            model_name=self._model[: d.MAX_NAME_CHARS],
            model_sha256=d.model_id(self._model),
            architecture="upstream",
            quantization="unknown",
            parameters=0,
            context_length=self._context(),
            slots=min(self._slots, facts.slots or self._slots),
            vocabulary_size=0,
            model_bytes=0,
            engine_build=" ".join(filter(None, ("upstream", facts.dialect.name, facts.version))),
            backend="upstream",
            tokens_per_s=self._tokens_per_s,
            ttft_ms=self._ttft_ms,
        )

    async def count(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of this conversation after the server's own chat template, as the server counts them.

        Raises:
            EngineError: If the server is away or refuses the conversation.
        """
        conversation = tuple(messages)
        self._health.check_usable()
        check_messages(conversation, self._context())
        key = _digest(conversation)
        known = self._counts.get(key)
        if known is not None:
            return known
        try:
            async with self._my_turn():
                counted = await self._ask_count(conversation)
        except UpstreamError as error:
            self._health.noticed(error)
            raise
        self._counts[key] = counted
        if len(self._counts) > COUNTS_KEPT:
            self._counts.popitem(last=False)
        return counted

    async def score(
        self, prompt: Sequence[ChatMessage] | Sequence[int], completion: str | Sequence[int], top_k: int = 0
    ) -> Scored:
        """Refused: nothing that another's server says of a completion could prove what it runs.

        Raises:
            EngineError: Always, with code ``bad_request``.
        """
        raise d.not_here("scoring a completion")

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Refused: a chat model is rented out here.

        Raises:
            EngineError: Always, with code ``bad_request``.
        """
        raise d.not_here("embedding texts")

    async def cancel(self, request_id: str) -> None:
        """Stop a running request; its stream ends with ``Finished(reason="cancelled")``."""
        running = self._running.get(request_id)
        if running is not None:
            running.cancel()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run one request; see `Engine.generate`."""
        self._health.check_usable()
        check_request(request, self._context())
        d.check_supported(request)
        if request.request_id in self._running:
            raise EngineError("A request with this id is already running.", code="bad_request")
        input_tokens = await self.count(request.messages)
        running = self._running[request.request_id] = _Running()
        stream = self._stream(request, running, input_tokens)
        try:
            async with contextlib.aclosing(stream):
                async for event in stream:
                    yield event
        except UpstreamError as error:
            if self.state.name == "closed":
                raise EngineError("The engine was closed.", code="engine_closed") from None
            self._health.noticed(error)
            raise
        finally:
            del self._running[request.request_id]

    # -- one request ------------------------------------------------------------------------------------------------

    async def _stream(
        self, request: GenerateRequest, running: _Running, input_tokens: int
    ) -> AsyncGenerator[EngineEvent, None]:
        loop = asyncio.get_running_loop()
        seed = effective_seed(request.sampling.seed)
        meter = TokenMeter(request.max_tokens, self._rate)
        began_s, first_s = loop.time(), 0.0
        reason, prompt_tokens = "", input_tokens
        pieces = self._pieces(d.chat_body(self._known().dialect, self._model, request, seed), running)
        async with contextlib.aclosing(pieces):
            yield Started(input_tokens=input_tokens, seed=seed)
            async for piece in pieces:
                tokens = meter.take(piece.thinking + piece.text, piece.completion_tokens)
                if piece.prompt_tokens is not None:
                    prompt_tokens = piece.prompt_tokens
                reason = piece.finish_reason or reason
                if piece.thinking or piece.text or tokens:
                    first_s = first_s or loop.time()
                for chunk in _chunks(piece, tokens):
                    yield chunk
        if not running.cancelled and not reason:
            raise UpstreamError("The provider's server broke off.", code="engine_crashed", owner=_CUT_OFF)
        self._rate = meter.learned()
        if prompt_tokens < input_tokens:
            self._overcounted(prompt_tokens, input_tokens)
        ended_s = loop.time()
        first_s = first_s or ended_s
        yield Finished(
            reason=_reason(reason, running),
            input_tokens=input_tokens,
            output_tokens=meter.tokens,
            prefill_ms=1000 * (first_s - began_s),
            decode_ms=1000 * (ended_s - first_s),
        )

    async def _pieces(self, body: dict[str, object], running: _Running) -> AsyncGenerator[Piece, None]:
        """The stream's events, until it ends or is cancelled; time counts only while the server is waited for."""
        loop = asyncio.get_running_loop()
        decoder = EventDecoder()
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with running.until(loop.time() + TURN_S + self._stall_s) as deadline:
                    await stack.enter_async_context(self._my_turn())
                    deadline.reschedule(loop.time() + self._stall_s)
                    received = await stack.enter_async_context(self._client.stream(body))
                heard_s = loop.time()
                while True:
                    # Comments that only keep the connection are no progress.
                    async with running.until(heard_s + self._stall_s):
                        data = await anext(received, None)
                    if data is None:
                        return
                    for event in decoder.feed(data):
                        piece = read_piece(event)
                        if piece.done:
                            return
                        yield piece
                        heard_s = loop.time()
            except TimeoutError:
                if self.state.name == "closed":
                    raise EngineError("The engine was closed.", code="engine_closed") from None
                if not running.cancelled:
                    raise stalled(self._stall_s) from None

    @contextlib.asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """Alone with a server whose running stream any other request would break; at once with all others."""
        if not self._known().dialect.one_at_a_time:
            yield
            return
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()
        except TimeoutError:
            raise UpstreamError(
                "The provider's server is busy.", code="engine_busy", fix=again_fix(None), owner=_ALONE
            ) from None
        try:
            yield
        finally:
            self._turn.release()

    async def _ask_count(self, messages: tuple[ChatMessage, ...]) -> int:
        while True:
            way = self._ways[0]
            try:
                return await count_by(self._client, way, self._model, messages)
            except UpstreamError as error:
                if error.code == "context_too_long" or error.standing == "away" or len(self._ways) == 1:
                    raise
                log.warning("the upstream does not count by %s: %s", way, error.owner_line())
                self._ways.remove(way)

    def _overcounted(self, truth: int, counted: int) -> None:
        """The server's own usage says fewer tokens than it counted before: it is not asked in that way again."""
        log.warning("the upstream counted %d prompt tokens and then used %d", counted, truth)
        self._counts.clear()
        if len(self._ways) > 1:
            self._ways.pop(0)

    # -- what the upstream is ---------------------------------------------------------------------------------------

    def _learn(self, facts: d.Facts) -> None:
        check_model(self._model, facts.models)
        if self._facts is None or self._facts.dialect is not facts.dialect:
            self._ways = list(ways_to_count(facts.dialect))
        if facts.context_length is None and self._context_length is None:
            log.warning("the upstream does not tell its context: %d tokens are assumed", UNKNOWN_CONTEXT)
        self._facts = facts
        self._counts.clear()

    async def _try_out(self) -> None:
        """One short answer: shows that the model answers and that its tokens can be counted, and measures its speed.

        A server that is merely busy passes; it is measured by the jobs that follow.
        """
        sampling = Sampling(temperature=0.0, top_k=1)
        request = GenerateRequest(request_id="trial", messages=_TRIAL, max_tokens=TRIAL_TOKENS, sampling=sampling)
        try:
            async with self._my_turn():
                input_tokens = await self._ask_count(_TRIAL)
            finished = None
            async for event in self._stream(request, _Running(), input_tokens):
                finished = event if isinstance(event, Finished) else None
        except UpstreamError as error:
            if error.code == "engine_busy":
                return
            if error.code == "engine_crashed" and error.standing == "here":
                raise _unusable(error) from error
            raise
        if finished is not None:
            self._ttft_ms = finished.prefill_ms
            if finished.output_tokens > 1 and finished.decode_ms > 0:
                self._tokens_per_s = 1000 * (finished.output_tokens - 1) / finished.decode_ms

    async def _look(self) -> None:
        """Ask whether the server is there, and after an absence who it is now."""
        async with self._my_turn():
            if self.state.name == "ready":
                check_model(self._model, d.read_models(await self._client.models()).names)
            else:
                self._learn(await facts_of(self._client, self._model))

    def _is_engaged(self) -> bool:
        """Whether a request is under way that any other would break."""
        return self._known().dialect.one_at_a_time and self._turn.locked()

    def _known(self) -> d.Facts:
        if self._facts is None:
            raise EngineError(CLOSED, code="engine_closed")
        return self._facts

    def _context(self) -> int:
        told = self._known().context_length
        if self._context_length is None:
            return told or UNKNOWN_CONTEXT
        return min(self._context_length, told or self._context_length)


_CUT_OFF: Final = "The upstream ended a stream before its answer was complete."
_ALONE: Final = "The upstream serves one request at a time, and the one before took too long."


def _unusable(error: UpstreamError) -> UpstreamError:
    return UpstreamError(
        error.message, code="upstream_unusable", owner=error.owner,
        owner_fix="A server whose tokens can't be counted can't be rented out by the token.",
    )  # fmt: skip


def _chunks(piece: Piece, tokens: int) -> list[Chunk]:
    """A piece as chunks that are all thinking or all answer; its tokens go with the first."""
    parts = [(text, is_thought) for text, is_thought in ((piece.thinking, True), (piece.text, False)) if text]
    if tokens and not parts:
        parts = [("", False)]
    return [
        Chunk(text=text, tokens=0 if place else tokens, thinking=is_thought)
        for place, (text, is_thought) in enumerate(parts)
    ]


def _reason(stated: str, running: _Running) -> FinishReason:
    if running.cancelled:
        return "cancelled"
    return "length" if stated == "length" else "stop"


def _digest(messages: tuple[ChatMessage, ...]) -> bytes:
    digest = hashlib.sha256()
    for message in messages:
        for part in (message.role.encode(), message.content.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
