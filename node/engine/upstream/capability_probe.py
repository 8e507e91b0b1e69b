"""Finds out what an upstream can do, and how fast, by asking once: servers drop in silence what they don't know."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import msgspec

from chain.logs import get_logger
from node.engine.formats import Formats
from node.engine.protocol import EngineError, Finished, GenerateRequest
from node.engine.upstream.capabilities import Capabilities
from node.engine.upstream.counting import PromptCounter
from node.engine.upstream.dialect import chat_body
from node.engine.upstream.embedding import embed_text
from node.engine.upstream.inline_thinking import opened_pair
from node.engine.upstream.logprobs import LogprobReader
from node.engine.upstream.refusals import UpstreamError
from node.engine.upstream.server import Server
from node.engine.upstream.streaming import RunningStream, Streams
from node.values.inference import MAX_TOP_LOGPROBS, ChatMessage, JsonObject, JsonSchema, Sampling, TokenLogprob

log = get_logger(__name__)

_T = TypeVar("_T")
TRY_S: Final = 60.0
TRIAL_TOKENS: Final = 24
MAX_TRIED_TOKENS: Final = 256
"""Room for a reasoning model's thoughts; an answer that goes another way is left at once."""
MAX_TRIED_CHARS: Final = 2_048
"""What is longer is no answer to what was asked."""
TOPS_TRIED: Final = 2
COUNT_UP: Final = (ChatMessage(role="user", content="Count from one to twenty."),)
_NO_JSON: Final = (ChatMessage(role="user", content="Say hello in plain words, not in JSON."),)
_ONLY_ANSWER: Final = {"sesame": "open"}
_ONLY_SCHEMA: Final = json.dumps(
    {
        "type": "object",
        "properties": {"sesame": {"type": "string", "enum": ["open"]}},
        "required": ["sesame"],
        "additionalProperties": False,
    }
)


class MeasuredSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a short answer came; zeros where nothing was measured."""

    ttft_ms: float = 0.0
    tokens_per_s: float = 0.0
    prompt_tokens: int = 0
    """Tokens of the short question, with what the server's chat template adds."""


class CapabilityProbe:
    """Tries one server and model.

    Args:
        server: The server to try.
        streams: Its streams.
        counter: Counts its prompts.
        formats: Makes grammars.
    """

    def __init__(self, server: Server, streams: Streams, counter: PromptCounter, formats: Formats) -> None:
        self._server = server
        self._streams = streams
        self._counter = counter
        self._formats = formats

    async def speed(self, *, load_s: float) -> MeasuredSpeed:
        """How fast one short answer comes, which shows too that the model answers and that its tokens can be counted.

        A server that is merely busy passes; it is measured by the jobs that follow.

        Args:
            load_s: How long it may take: many servers load a model when they are first asked for it.

        Raises:
            UpstreamError: If it can't be rented out.
        """
        request = _request(COUNT_UP, max_tokens=TRIAL_TOKENS)
        finished = None
        try:
            input_tokens = await self._counter.count(COUNT_UP, timeout_s=load_s)
            async for event in self._streams.events(
                request, self._body(request), RunningStream(), input_tokens=input_tokens
            ):
                finished = event if isinstance(event, Finished) else None
        except UpstreamError as error:
            if error.code == "engine_busy":
                return MeasuredSpeed()
            if error.code == "engine_crashed" and error.reachability == "here" and not error.is_starting:
                raise _unusable(error) from error
            raise
        if finished is None:
            return MeasuredSpeed()
        measured = finished.output_tokens > 1 and finished.decode_ms > 0
        return MeasuredSpeed(
            prompt_tokens=input_tokens,
            ttft_ms=finished.prefill_ms,
            tokens_per_s=1000 * (finished.output_tokens - 1) / finished.decode_ms if measured else 0.0,
        )

    async def capabilities(self) -> Capabilities:
        """What it is seen to do.

        Raises:
            UpstreamError: With code ``engine_busy`` if it has no time to be tried.
        """
        by_schema = await _tried("a JSON schema", self._keeps_to_a_schema(), False)
        by_name = self._server.dialect.format_way == "openai"
        return Capabilities(
            json_schema=by_schema,
            json_object=await _tried("a JSON object", self._keeps_to_an_object(), False) if by_name else by_schema,
            most_tops=await _tried("log-probabilities", self._tells_logprobs(), None),
            vector_length=await _tried("embeddings", self._embeds(), 0),
            opened_pair=await _tried("thinking without an opening tag", self._opened_pair(), None),
        )

    async def _keeps_to_a_schema(self) -> bool:
        text = await self._answer(COUNT_UP, response_format=JsonSchema(_ONLY_SCHEMA))
        with contextlib.suppress(ValueError, RecursionError):
            return bool(json.loads(text) == _ONLY_ANSWER)
        return False

    async def _keeps_to_an_object(self) -> bool:
        text = await self._answer(_NO_JSON, response_format=JsonObject())
        with contextlib.suppress(ValueError, RecursionError):
            return isinstance(json.loads(text), dict)
        return False

    async def _tells_logprobs(self) -> int | None:
        """The bytes of the tokens, put together, must be the text: else they are of something else."""
        request = _request(COUNT_UP, max_tokens=8, logprobs=TOPS_TRIED)
        reader = LogprobReader(TOPS_TRIED, ids_as_tokens=self._server.dialect.ids_as_tokens)
        text, told = "", list[TokenLogprob]()
        async with contextlib.aclosing(self._streams.pieces(self._body(request), RunningStream())) as pieces:
            async for piece in pieces:
                written = piece.thinking + piece.text
                text += written
                told += reader.take(written, piece.logprobs, piece.completion_tokens)
                if len(text) > MAX_TRIED_CHARS:
                    return None
        if not text or b"".join(one.data for one in told) != text.encode():
            return None
        return MAX_TOP_LOGPROBS if all(len(one.top) == TOPS_TRIED for one in told) else 0

    async def _opened_pair(self) -> tuple[str, str] | None:
        """The tags of a thinking model whose template writes the first one, where the server leaves them in the text.

        A server that takes thinking out, a model that opens it, or an answer that counts at once is none of these.
        """
        request = _request(COUNT_UP, max_tokens=MAX_TRIED_TOKENS)
        text = ""
        async with contextlib.aclosing(self._streams.pieces(self._body(request), RunningStream())) as pieces:
            async for piece in pieces:
                text = (text + piece.text).lstrip()
                if piece.thinking or text[:1] in tuple("1<[") or len(text) > MAX_TRIED_CHARS:
                    return None
                if (found := opened_pair(text)) is not None:
                    return found
        return None

    async def _embeds(self) -> int:
        try:
            return len((await embed_text(self._server, "hello")).numbers)
        except UpstreamError as error:
            # A limit on embeddings alone must not keep the rest from being found out.
            log.info("upstream_capability_missing", capability="embeddings", error=error.owner_line())
            return 0

    async def _answer(self, messages: tuple[ChatMessage, ...], **format_: Any) -> str:
        request = _request(messages, max_tokens=MAX_TRIED_TOKENS, **format_)
        by_grammar = self._server.dialect.format_way == "grammar"
        grammar = await self._formats.grammar(request.response_format, "gbnf") if by_grammar else ""
        text = ""
        async with contextlib.aclosing(self._streams.pieces(self._body(request, grammar), RunningStream())) as pieces:
            async for piece in pieces:
                text = (text + piece.text).lstrip()
                if (text and not text.startswith("{")) or len(text) > MAX_TRIED_CHARS:
                    break
        return text

    def _body(self, request: GenerateRequest, grammar: str = "") -> dict[str, Any]:
        return chat_body(self._server.dialect, self._server.model, request, 0, grammar)


def _request(messages: tuple[ChatMessage, ...], **more: Any) -> GenerateRequest:
    sampling = Sampling(temperature=0.0, top_k=1)
    return GenerateRequest(request_id="trial", messages=messages, sampling=sampling, **more)


def _unusable(error: UpstreamError) -> UpstreamError:
    return UpstreamError(
        error.message, code="upstream_unusable", owner=error.owner,
        owner_fix="A server whose tokens can't be counted can't be rented out by the token.",
    )  # fmt: skip


async def _tried(what: str, trial: Awaitable[_T], otherwise: _T) -> _T:
    """What a trial shows: a server that fails at it can't do it, and if it went away just now the watch will see.

    Raises:
        UpstreamError: With code ``engine_busy``.
    """
    try:
        async with asyncio.timeout(TRY_S):
            return await trial
    except UpstreamError as error:
        if error.code == "engine_busy":
            raise
        log.info("upstream_capability_missing", capability=what, error=error.owner_line())
    except (EngineError, TimeoutError) as error:
        log.info("upstream_capability_missing", capability=what, error=str(error) or "it took too long")
    return otherwise
