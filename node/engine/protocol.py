"""The one small protocol every engine speaks, and the values that travel through it.

Sampling parameters carry the OpenAI API's names and meanings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from chain.errors import IdlewattError

FinishReason = Literal["stop", "length", "cancelled"]


class EngineError(IdlewattError):
    """An engine could not serve.

    Codes: ``engine_crashed``, ``engine_busy``, ``context_too_long``, ``model_unusable``, ``model_too_big``,
    ``bad_request``, ``engine_closed``.
    """

    default_code = "engine_failed"


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is drawn."""

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 40
    min_p: float = 0.05
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat completion to run; the engine applies the model's own chat template."""

    request_id: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The prompt is tokenized and admitted: how many tokens it has, and the seed actually used."""

    input_tokens: int
    seed: int


class Chunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """Some more text: whole UTF-8 characters only, and how many sampled tokens it stands for."""

    text: str
    tokens: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a stream: totals and why it ended."""

    reason: FinishReason
    input_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float


EngineEvent = Started | Chunk | Finished


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded, by whom, and how fast it was measured to be."""

    model_name: str
    model_sha256: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    slots: int
    vocabulary_size: int
    model_bytes: int
    engine_build: str
    backend: str
    """``cpu``, ``cuda``, ``metal``, ``vulkan``, …"""
    tokens_per_s: float
    """Measured decode speed of one stream, 0.0 before the first measurement."""
    ttft_ms: float


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

    async def count(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of this conversation after the chat template, as ``Started.input_tokens`` would say.

        Raises:
            EngineError: If the worker is not available.
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
