"""Checks a request before anything is spent on it. The bounds are OpenAI's where it has one."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

from node.engine.protocol import MAX_CACHE_KEY_CHARS, MAX_PRIORITY, EngineError, GenerateRequest
from node.values.inference import (
    MAX_LOGIT_BIAS,
    MAX_SCHEMA_CHARS,
    MAX_TOP_LOGPROBS,
    ChatMessage,
    JsonSchema,
    Sampling,
    content_bytes,
)

MAX_REQUEST_ID_CHARS = 128
MAX_MESSAGES = 2_048
MAX_PROMPT_BYTES = 8 * 1024 * 1024
MAX_BYTES_PER_CONTEXT_TOKEN = 64
"""No real text holds more bytes in a token over a whole context; a longer prompt is refused without tokenizing it."""
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_TEMPERATURE = 5.0
MAX_PENALTY = 2.0
MAX_BIAS = 100.0
MAX_TEXTS = 256
_ANY_TOKEN = 1 << 31
SEEDS = 0xFFFF_FFFF
"""Seeds are 0 … 2³²-2: llama.cpp takes 2³²-1 to mean "choose one"."""


def check_request(request: GenerateRequest, context_length: int, vocabulary_size: int = _ANY_TOKEN) -> None:
    """Raise if `request` can't be served by any model with this context and, where known, so large a vocabulary.

    Args:
        request: What was asked.
        context_length: Tokens that prompt and answer may have together.
        vocabulary_size: Tokens of the vocabulary, where it is known.

    Raises:
        EngineError: With code ``bad_request`` or ``context_too_long``.
    """
    if not 0 < len(request.request_id) <= MAX_REQUEST_ID_CHARS:
        raise _bad("A request needs an id of 1 to 128 characters.")
    if request.max_tokens < 1:
        raise _bad("max_tokens must be at least 1.")
    check_messages(request.messages, context_length)
    _check_sampling(request.sampling, vocabulary_size)
    _check_output(request)
    if len(request.stop) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP_CHARS for stop in request.stop):
        raise _bad(f"There may be {MAX_STOPS} stop strings of 1 to {MAX_STOP_CHARS} characters.")


def check_messages(messages: tuple[ChatMessage, ...], context_length: int) -> None:
    """Raise if this conversation can't be put before any model with this context.

    Raises:
        EngineError: With code ``bad_request`` or ``context_too_long``.
    """
    if not 0 < len(messages) <= MAX_MESSAGES:
        raise _bad(f"A conversation has 1 to {MAX_MESSAGES} messages.")
    try:
        total = content_bytes(messages)
    except UnicodeEncodeError as error:
        raise _bad("A message holds half a character.") from error
    if total > min(MAX_PROMPT_BYTES, MAX_BYTES_PER_CONTEXT_TOKEN * context_length):
        raise EngineError(
            f"The conversation is far longer than the model's context of {context_length} tokens.",
            code="context_too_long",
            fix="Shorten it, or start a new one.",
        )


def check_tokens(tokens: Sequence[int], vocabulary_size: int) -> None:
    """Raise if these are not all tokens of the vocabulary.

    Raises:
        EngineError: With code ``bad_request``.
    """
    if not all(0 <= token < vocabulary_size for token in tokens):
        raise _bad("The model's vocabulary has no such token.")


def check_top_k(top_k: int) -> None:
    """Raise if so many alternatives can't be reported.

    Raises:
        EngineError: With code ``bad_request``.
    """
    if not 0 <= top_k <= MAX_TOP_LOGPROBS:
        raise _bad(f"Up to {MAX_TOP_LOGPROBS} log-probabilities can be reported for each token.")


def check_texts(texts: Sequence[str], context_length: int) -> None:
    """Raise if no model with this context can embed these texts.

    Raises:
        EngineError: With code ``bad_request`` or ``context_too_long``.
    """
    if not 0 < len(texts) <= MAX_TEXTS:
        raise _bad(f"Between 1 and {MAX_TEXTS} texts can be embedded at once.")
    for text in texts:
        check_messages((ChatMessage("user", text),), context_length)


def _check_output(request: GenerateRequest) -> None:
    if request.logprobs is not None:
        check_top_k(request.logprobs)
    answer = request.response_format
    if isinstance(answer, JsonSchema) and len(answer.schema) > MAX_SCHEMA_CHARS:
        raise _bad(f"A JSON schema may have {MAX_SCHEMA_CHARS} characters.")
    if len(request.cache_key) > MAX_CACHE_KEY_CHARS:
        raise _bad(f"A cache key may have {MAX_CACHE_KEY_CHARS} characters.")
    if not -MAX_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise _bad(f"A priority is a number from -{MAX_PRIORITY} to {MAX_PRIORITY}.")


def _check_sampling(sampling: Sampling, vocabulary_size: int) -> None:
    bounds = (
        ("temperature", sampling.temperature, 0.0, MAX_TEMPERATURE),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("frequency_penalty", sampling.frequency_penalty, -MAX_PENALTY, MAX_PENALTY),
        ("presence_penalty", sampling.presence_penalty, -MAX_PENALTY, MAX_PENALTY),
        ("repeat_penalty", sampling.repeat_penalty, 0.01, MAX_PENALTY),
        ("typical_p", sampling.typical_p, 0.0, 1.0),
    )
    for name, value, low, high in bounds:
        if not math.isfinite(value) or not low <= value <= high:
            raise _bad(f"{name} must be between {low:g} and {high:g}.")
    if not -1 <= sampling.top_k <= 1 << 20:
        raise _bad("top_k must be positive, or 0 or -1 for every token.")
    if len(sampling.logit_bias) > MAX_LOGIT_BIAS:
        raise _bad(f"logit_bias may name {MAX_LOGIT_BIAS} tokens.")
    check_tokens([token for token, _ in sampling.logit_bias], vocabulary_size)
    if not all(-MAX_BIAS <= bias <= MAX_BIAS for _, bias in sampling.logit_bias):
        raise _bad(f"logit_bias must be between -{MAX_BIAS:g} and {MAX_BIAS:g}.")


def effective_seed(seed: int | None) -> int:
    """The seed that is used and reported: a random one if none was given, else one in llama.cpp's range."""
    return secrets.randbelow(SEEDS) if seed is None else seed % SEEDS


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request")
