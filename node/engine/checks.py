"""Checks a request before anything is spent on it. The bounds are OpenAI's where it has one."""

from __future__ import annotations

import math
import secrets

from node.engine.protocol import ChatMessage, EngineError, GenerateRequest, Sampling

MAX_REQUEST_ID_CHARS = 128
MAX_MESSAGES = 2_048
MAX_PROMPT_BYTES = 8 * 1024 * 1024
MAX_BYTES_PER_CONTEXT_TOKEN = 64
"""No real text holds more bytes in a token over a whole context; a longer prompt is refused without tokenizing it."""
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_TEMPERATURE = 5.0
MAX_PENALTY = 2.0
SEEDS = 0xFFFF_FFFF
"""Seeds are 0 … 2³²-2: llama.cpp takes 2³²-1 to mean "choose one"."""


def check_request(request: GenerateRequest, context_length: int) -> None:
    """Raise if `request` can't be served by any model with this context.

    Raises:
        EngineError: With code ``bad_request`` or ``context_too_long``.
    """
    if not 0 < len(request.request_id) <= MAX_REQUEST_ID_CHARS:
        raise _bad("A request needs an id of 1 to 128 characters.")
    if request.max_tokens < 1:
        raise _bad("max_tokens must be at least 1.")
    check_messages(request.messages, context_length)
    _check_sampling(request.sampling)
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
        total = sum(len(message.content.encode()) for message in messages)
    except UnicodeEncodeError as error:
        raise _bad("A message holds half a character.") from error
    if total > min(MAX_PROMPT_BYTES, MAX_BYTES_PER_CONTEXT_TOKEN * context_length):
        raise EngineError(
            f"The conversation is far longer than the model's context of {context_length} tokens.",
            code="context_too_long",
            fix="Shorten it, or start a new one.",
        )


def _check_sampling(sampling: Sampling) -> None:
    bounds = (
        ("temperature", sampling.temperature, 0.0, MAX_TEMPERATURE),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("frequency_penalty", sampling.frequency_penalty, -MAX_PENALTY, MAX_PENALTY),
        ("presence_penalty", sampling.presence_penalty, -MAX_PENALTY, MAX_PENALTY),
        ("repeat_penalty", sampling.repeat_penalty, 0.01, MAX_PENALTY),
    )
    for name, value, low, high in bounds:
        if not math.isfinite(value) or not low <= value <= high:
            raise _bad(f"{name} must be between {low:g} and {high:g}.")
    if not -1 <= sampling.top_k <= 1 << 20:
        raise _bad("top_k must be positive, or 0 or -1 for every token.")


def effective_seed(seed: int | None) -> int:
    """The seed that is used and reported: a random one if none was given, else one in llama.cpp's range."""
    return secrets.randbelow(SEEDS) if seed is None else seed % SEEDS


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request")
