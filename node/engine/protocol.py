"""The one small protocol every engine speaks, and the requests and events that travel through it.

``node.values.inference`` has what they carry; ``node.engine.checks`` adds the bounds that only a loaded model knows.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Literal, Protocol

import msgspec

from chain.errors import ErrorCode, IdlewattError
from node.values.inference import (
    NO_OPTIONS,
    ChatMessage,
    ResponseFormat,
    Sampling,
    TemplateOptions,
    TokenLogprob,
)
from node.values.models import Ability

FinishReason = Literal["stop", "length", "cancelled"]

MAX_CACHE_KEY_CHARS = 128
MAX_PRIORITY = 100
OVERTIME_SIGNAL = signal.SIGVTALRM
"""What ends a worker whose chat template takes too long and can't be interrupted; nothing else sends it."""


class EngineError(IdlewattError):
    """An engine could not serve."""

    default_code: ClassVar[ErrorCode] = "engine_failed"


class LoadError(EngineError):
    """A model can't be loaded, and why: what its file or the memory lacks."""

    default_code: ClassVar[ErrorCode] = "model_unusable"


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat completion to run; the engine applies the model's own chat template."""

    request_id: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the most likely tokens to report with each token, up to 20; 0 for the token's own log-probability
    alone, None for nothing."""
    response_format: ResponseFormat | None = None
    cache_key: str = ""
    """Prompt prefixes are reused only among requests with the same key, unless buyers are not kept apart."""
    priority: int = 0
    """Of two that wait, the higher one runs first; -100 to 100."""
    template_options: TemplateOptions = NO_OPTIONS


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The prompt is tokenized and admitted: how many tokens it has, and the seed actually used."""

    input_tokens: int
    seed: int


class Chunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """Some more text: whole UTF-8 characters only, and how many sampled tokens it holds.

    The texts of all chunks, thinking or not, are exactly what the model wrote.
    """

    text: str
    tokens: int
    thinking: bool = False
    """Whether this is no part of the answer: a reasoning model thinks here, or marks where it does."""
    marker: bool = False
    """Whether this is only a marker around thinking or answer, such as ``<think>``, with the white space beside it."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each token that begins in this text, if the request asked for them."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a stream: totals and why it ended."""

    reason: FinishReason
    input_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float


EngineEvent = Started | Chunk | Finished


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded model, the build that runs it, and its measured speed."""

    model_name: str
    model_sha256: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    slots: int
    vocabulary_size: int
    engine_build: str
    backend: str
    """``cpu``, ``cuda``, ``metal``, ``vulkan``, …"""
    tokens_per_s: float
    """Measured decode speed of one stream, 0.0 before the first measurement."""
    ttft_ms: float
    chats: bool = True
    """False for an embedding model, which writes no text."""
    embedding_length: int = 0
    """Numbers in a vector of `Engine.embed`; 0 if it is not served."""
    abilities: tuple[Ability, ...] = ()
    template_tokens: int = 0
    """Tokens that the chat template adds to a question, where that is known."""
    notes: tuple[str, ...] = ()
    """What the model's chat template can't do, and why: a sentence each."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """How likely a model finds a given completion."""

    input_tokens: int
    """Tokens of the prompt."""
    tokens: tuple[TokenLogprob, ...]
    """Every token of the completion, in order."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One vector of length 1 for each text, and what the texts cost."""

    vectors: tuple[tuple[float, ...], ...]
    input_tokens: tuple[int, ...]


class Engine(Protocol):
    """Something that turns a chat into a stream of text."""

    def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run one request: ``Started``, any number of ``Chunk``, one ``Finished``.

        Closing the iterator (``aclose``) or cancelling its task cancels the request between two tokens.

        Raises:
            EngineError: If the request can't be served, or the worker died under it.
        """
        ...

    async def cancel(self, request_id: str) -> None:
        """Stop a running request between two tokens; its stream ends with ``Finished(reason="cancelled")``."""
        ...

    async def count(self, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> int:
        """Tokens of this conversation after the chat template, as ``Started.input_tokens`` would say.

        Args:
            messages: The conversation.
            options: What the chat template is told beside it.

        Raises:
            EngineError: If the worker is not available.
        """
        ...

    async def score(
        self, prompt: Sequence[ChatMessage] | Sequence[int], completion: str | Sequence[int], top_k: int = 0
    ) -> Scored:
        """Log-probabilities of a given completion, teacher-forced: each token after the prompt and those before it.

        Args:
            prompt: A conversation, to which the model's chat template is applied, or tokens as they are.
            completion: Text, or tokens as they were sampled: text may be cut into other tokens than it was made of.
            top_k: How many of the most likely tokens to report at each position, up to 20.

        Raises:
            EngineError: If the request can't be served, or the worker died under it.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector of length 1 for each text, pooled as the model file says, else by the mean over its tokens.

        Raises:
            EngineError: If a text is longer than the model's context, or the worker died.
        """
        ...

    async def info(self) -> EngineInfo:
        """What is loaded.

        Raises:
            EngineError: If the model could not be loaded.
        """
        ...

    async def close(self) -> None:
        """End the worker and everything it owns; running requests end with ``EngineError(code="engine_closed")``."""
        ...
