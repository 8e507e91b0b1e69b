"""Reads what a chat completion says, whichever way its server says it; pure.

An unknown field, or a field of an unknown type, costs that field and nothing else. Where the forms that are read come
from: OpenAI's API reference ("The chat completion chunk object"); Mistral's ``content`` in parts; SGLang's and Ollama's
empty ``finish_reason``; koboldcpp's ``"null"``; Moonshot's ``usage`` inside a choice; OpenRouter's
``reasoning_details``; Google's errors inside a list.
"""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8
from typing import Any, Final

import msgspec

from node.engine.upstream.halves import whole_text
from node.engine.upstream.refusals import UpstreamError, broken, refusal, words_of
from node.engine.upstream.sse import DONE

MAX_TOKENS: Final = 2**31 - 1
MAX_PARTS_DEPTH: Final = 4
_BOM: Final = "\ufeff"
_THINKING_NAMES: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details")
"""llama-server's and older vLLM's name, vLLM's newer and Ollama's, Copilot's, Ollama's own, OpenRouter's."""
_THINKING_PARTS: Final = frozenset({"thinking", "reasoning", "reasoning.text", "reasoning.summary"})
_AT_THE_LIMIT: Final = frozenset({"length", "max_tokens", "max_length", "max_output_tokens", "model_length"})
_BROKEN_OFF: Final = frozenset({"error", "abort", "aborted", "cancelled", "insufficient_system_resource"})
_NO_REASON: Final = frozenset({"", "null", "none"})
_OVERLOADED: Final = ("overloaded", "rate limit", "rate_limit", "too many requests")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts as the upstream states them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What one event of a chat stream says."""

    text: str = ""
    """May begin or end with half a character, for `HalfJoiner`."""
    thinking: str = ""
    """What the model thinks before it answers, where the upstream tells the two apart; halves as in ``text``."""
    finish_reason: str | None = None
    """``length`` at the limit, ``error`` where the server broke off, else ``stop``."""
    logprobs: Any = None
    """The choice's ``logprobs``, for `LogprobReader`."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Tokens made so far, or in all; only what the upstream itself says."""
    done: bool = False


def _short_int(digits: str) -> int | None:
    """No count is longer; Python refuses thousands of digits, which must not cost the event."""
    return int(digits) if len(digits) < 20 else None


_json = json.JSONDecoder(strict=False, parse_int=_short_int)


def read_piece(data: bytes) -> Piece:
    """Read one event of a chat stream.

    Raises:
        UpstreamError: If it is an error, or no JSON object.
    """
    stripped = data.removeprefix(BOM_UTF8).strip()
    if stripped in {DONE, b'"[DONE]"'}:
        return Piece(done=True)
    if not stripped:
        return Piece()
    chunk = read_json(data, "an event that is no chat chunk")
    if isinstance(chunk, list) and len(chunk) == 1:
        chunk = chunk[0]
    if not isinstance(chunk, dict):
        raise broken("an event that is no chat chunk")
    if _is_error(chunk):
        raise _stated(chunk, data)
    choice = _choice(chunk.get("choices"))
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
    text, thought = _text(delta.get("content")) or _text(delta.get("refusal")) or ("", "")
    for name in _THINKING_NAMES:
        thought = thought or "".join(_text(delta.get(name)) or ())
    usage = usage_of(chunk)
    made = usage.completion_tokens
    if made is None and isinstance(timings := chunk.get("timings"), dict):
        made = count_of(timings.get("predicted_n"))
    return Piece(
        text=text,
        thinking=thought,
        finish_reason=_reason(choice.get("finish_reason")),
        logprobs=choice.get("logprobs"),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=made,
    )


def read_json(data: bytes, otherwise: str) -> Any:
    """A value as JSON says it, with everything that real servers add to JSON.

    Bytes that are no UTF-8 stay in the text as ``surrogateescape`` writes them: the next piece may hold the rest of
    their character.

    Args:
        data: The text.
        otherwise: What the upstream sent if it is no JSON.

    Raises:
        UpstreamError: If it is none.
    """
    try:
        return _json.decode(data.decode("utf-8", "surrogateescape").removeprefix(_BOM).strip())
    except (ValueError, RecursionError):
        raise broken(otherwise) from None


def read_answer(data: bytes) -> Any:
    """A whole answer, as JSON is read.

    Raises:
        UpstreamError: If it is none, or an error under a good status.
    """
    answer = read_json(data, "something that is not the JSON it should be")
    if isinstance(answer, dict) and _is_error(answer):
        raise _stated(answer, data)
    return answer


def usage_of(answer: Any) -> Usage:
    """The token counts in a chunk or in a whole answer; none where there are none."""
    if not isinstance(answer, dict):
        return Usage()
    for place in (answer, _choice(answer.get("choices")), answer.get("x_groq")):
        stated = place.get("usage") if isinstance(place, dict) else None
        if isinstance(stated, dict) and stated:
            prompt, made = stated.get("prompt_tokens"), stated.get("completion_tokens")
            return Usage(
                prompt_tokens=count_of(stated.get("input_tokens") if prompt is None else prompt),
                completion_tokens=count_of(stated.get("output_tokens") if made is None else made),
            )
    return Usage()


def text_of(answer: Any) -> str:
    """All that a whole answer's message says, thinking included."""
    message = _choice(answer.get("choices")).get("message") if isinstance(answer, dict) else None
    if not isinstance(message, dict):
        return ""
    parts = [_text(message.get(name)) or () for name in ("content", *_THINKING_NAMES)]
    return whole_text("\n".join("".join(part) for part in parts))


def count_of(value: Any) -> int | None:
    """A count of tokens within reason, or none; ``12.0`` and ``"12"`` are 12."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value <= MAX_TOKENS else None


def _choice(choices: Any) -> dict[str, Any]:
    """The one choice that was asked for."""
    found = choices if isinstance(choices, list) else [choices]
    return next((one for one in found if isinstance(one, dict)), {})


def _text(content: Any, depth: int = 0) -> tuple[str, str] | None:
    """Text and thinking of a ``content``: a text, or a list of parts; ``None`` where it says nothing."""
    if isinstance(content, str):
        return (content, "") if content else None
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list) or depth > MAX_PARTS_DEPTH:
        return None
    text = thought = ""
    for part in parts:
        said = _part(part, depth + 1)
        text, thought = text + said[0], thought + said[1]
    return (text, thought) if text or thought else None


def _part(part: Any, depth: int) -> tuple[str, str]:
    if not isinstance(part, dict):
        return (_text(part, depth) or ("", "")) if isinstance(part, str) else ("", "")
    kind = part.get("type")
    if isinstance(kind, str) and kind in _THINKING_PARTS:
        said = next((_text(part.get(name), depth) for name in ("thinking", "text", "summary") if part.get(name)), None)
        return "", "".join(said or ())
    said = _text(part.get("text"), depth) or _text(part.get("value"), depth)
    return said or ("", "")


def _reason(stated: Any) -> str | None:
    word = stated.casefold() if isinstance(stated, str) else ""
    if word in _NO_REASON:
        return None
    if word in _AT_THE_LIMIT:
        return "length"
    return "error" if word in _BROKEN_OFF else "stop"


def _is_error(chunk: dict[str, Any]) -> bool:
    if chunk.get("error") or chunk.get("object") == "error" or chunk.get("type") == "error":
        return True
    return "choices" not in chunk and "error" in chunk and bool(chunk.get("message"))


def _stated(chunk: dict[str, Any], data: bytes) -> UpstreamError:
    """An error inside a stream whose status was 200 already: by the status it names, else a failure."""
    error = chunk.get("error")
    named = error.get("code") if isinstance(error, dict) else chunk.get("code")
    status = count_of(named) or 500
    if not 400 <= status < 600:
        status = 500
    said = words_of(data).lower()
    if status == 500 and "context" in said:
        status = 400
    elif status == 500 and any(word in said for word in _OVERLOADED):
        status = 429
    return refusal(status, body=data)
