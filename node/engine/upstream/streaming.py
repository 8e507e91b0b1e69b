"""Runs requests as streams of the server: each from its body to its last event, cancelled or cut off as may be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final

from node.engine.protocol import EngineError, EngineEvent, Finished, FinishReason, GenerateRequest, Started
from node.engine.upstream.chunks import Piece
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.counting import PromptCounter
from node.engine.upstream.exclusive import MAX_WAIT_S, ExclusiveAccess
from node.engine.upstream.inline_thinking import ChunkMaker
from node.engine.upstream.limits import UpstreamLimits
from node.engine.upstream.logprobs import LogprobReader
from node.engine.upstream.meter import Rate, TokenMeter
from node.engine.upstream.piece_reader import PieceReader
from node.engine.upstream.plausibility import is_cut
from node.engine.upstream.refusals import DroppedError, UpstreamError, stalled

_CUT_OFF: Final = "The upstream ended a stream before its answer was complete."


class RunningStream:
    """One request under way."""

    def __init__(self) -> None:
        self.cancelled = False
        self.closed = False
        self.is_given_up = False
        """Whether its answer was not taken for too long, and its connection ended."""
        self._end_connection: Callable[[], None] | None = None
        self._deadline: asyncio.Timeout | None = None

    def cancel(self) -> None:
        """End it early, as its buyer asks."""
        self.cancelled = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """End it with ``engine_closed``."""
        self.closed = True
        self.cancel()

    def connected(self, end_connection: Callable[[], None]) -> None:
        """From now on it has a connection that can be ended like this."""
        self._end_connection = end_connection

    @contextlib.contextmanager
    def taken_within(self, limit_s: float) -> Iterator[None]:
        """A wait for whoever takes the answer: a server works on whether it is read or not.

        Raises:
            UpstreamError: If it took longer.
        """
        timer = asyncio.get_running_loop().call_later(limit_s, self._give_up)
        try:
            yield
        finally:
            timer.cancel()
        if self.is_given_up:
            raise _not_taken(limit_s)

    def _give_up(self) -> None:
        self.is_given_up = True
        if self._end_connection is not None:
            self._end_connection()

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


class Streams:
    """The streams of one server.

    Args:
        client: The server's.
        access: Held while a stream runs.
        counter: Learns from each stream whether it counted the prompt right.
        limits: How long the server, and whoever takes an answer, are waited for.
    """

    def __init__(
        self, client: UpstreamClient, access: ExclusiveAccess, counter: PromptCounter, limits: UpstreamLimits
    ) -> None:
        self._client = client
        self._access = access
        self._counter = counter
        self._limits = limits
        self._rate = Rate()
        self.opened: tuple[str, str] | None = None
        """The pair of tags that this server opens in the prompt and leaves in the text, if it was seen to."""

    async def events(
        self,
        request: GenerateRequest,
        body: dict[str, Any],
        running: RunningStream,
        *,
        input_tokens: int,
        told: LogprobReader | None = None,
    ) -> AsyncGenerator[EngineEvent, None]:
        """One request from ``Started`` to ``Finished``.

        Args:
            request: The request.
            body: The same as the server reads it; its ``seed`` is reported.
            running: Ends it early.
            input_tokens: Tokens of its prompt, as counted before.
            told: Reads its log-probabilities, if it asks for them.

        Raises:
            UpstreamError: If the server fails.
            EngineError: With code ``engine_closed``.
        """
        loop = asyncio.get_running_loop()
        meter = TokenMeter(request.max_tokens, self._rate)
        began_s, first_s = loop.time(), 0.0
        reason, prompt_tokens, is_whole = "", input_tokens, False
        pieces = self.pieces(body, running)
        # An answer in a format has no room for thinking: the server begins it at once.
        maker = ChunkMaker(self.opened if request.response_format is None else None)
        async with contextlib.aclosing(pieces):
            yield Started(input_tokens=input_tokens, seed=body["seed"])
            async for piece in pieces:
                text = piece.thinking + piece.text
                tokens = meter.take(text, piece.completion_tokens)
                logprobs = told.take(text, piece.logprobs, piece.completion_tokens) if told is not None else ()
                if piece.prompt_tokens:  # a server that states 0 states nothing
                    prompt_tokens = piece.prompt_tokens
                    if not first_s and is_cut(prompt_tokens, input_tokens):
                        raise DroppedError(prompt_tokens, input_tokens)  # nothing was delivered, so nothing is paid
                reason = piece.finish_reason or reason
                is_whole = is_whole or bool(reason) or piece.done
                if text or tokens:
                    first_s = first_s or loop.time()
                for chunk in maker.take(piece, tokens, logprobs):
                    with running.taken_within(self._limits.untaken_s):
                        yield chunk
        for chunk in maker.finish():
            yield chunk
        if not running.cancelled and (not is_whole or reason == "error"):
            raise UpstreamError("The provider's server broke off.", code="engine_crashed", owner=_CUT_OFF)
        if told is not None and not running.cancelled:
            told.finish()
        self._rate = meter.learned()
        self._counter.compare(prompt_tokens, input_tokens)
        ended_s = loop.time()
        first_s = first_s or ended_s
        yield Finished(
            reason=_reason(reason, running, is_full=meter.tokens >= request.max_tokens),
            input_tokens=input_tokens,
            output_tokens=meter.tokens,
            prefill_ms=1000 * (first_s - began_s),
            decode_ms=1000 * (ended_s - first_s),
        )

    async def pieces(self, body: dict[str, Any], running: RunningStream) -> AsyncGenerator[Piece, None]:
        """The stream's events, until it ends or is cancelled; time counts only while the server is waited for.

        Their texts hold whole characters. The last piece is ``done`` where the server says so.

        Raises:
            UpstreamError: If the server fails.
            EngineError: With code ``engine_closed``.
        """
        loop = asyncio.get_running_loop()
        reader = PieceReader()
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with running.until(loop.time() + MAX_WAIT_S + self._limits.stall_s) as deadline:
                    await stack.enter_async_context(self._access.held())
                    deadline.reschedule(loop.time() + self._limits.stall_s)
                    received = await stack.enter_async_context(self._client.stream(body))
                    running.connected(received.close)
                heard_s = loop.time()
                while not reader.is_over:
                    # Comments that only keep the connection are no progress.
                    async with running.until(heard_s + self._limits.stall_s):
                        data = await anext(received.data, None)
                    for piece in reader.read(data):
                        yield piece
                        heard_s = loop.time()
            except TimeoutError:
                if running.closed:
                    raise EngineError("The engine was closed.", code="engine_closed") from None
                if not running.cancelled:
                    raise stalled(self._limits.stall_s) from None


def _not_taken(limit_s: float) -> UpstreamError:
    return UpstreamError(
        "The answer was stopped, because it was not taken and paid for in time.",
        code="unpaid", fix="Ask again; nothing else is owed.",
        owner=f"An answer of the upstream was stopped: nobody took it for {limit_s:g} s.",
    )  # fmt: skip


def _reason(stated: str, running: RunningStream, *, is_full: bool) -> FinishReason:
    """Why the answer ended; a server that names no reason stopped at the limit if the limit is reached."""
    if running.cancelled:
        return "cancelled"
    return "length" if stated == "length" or (not stated and is_full) else "stop"
