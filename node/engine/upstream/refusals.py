"""What an upstream's refusal means: one line for the buyer, another for the owner, and whether the offer stays.

What a buyer reads never holds an address, a path or a word of the upstream's own: those are the owner's business.
"""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import msgspec

from chain.errors import ErrorCode
from node.engine.protocol import EngineError
from node.values.text import plain

MAX_RETRY_S: Final = 3_600.0
"""A server that asks for a longer wait is asked again after this time."""
MAX_HEADER_CHARS: Final = 64
MAX_WORDS: Final = 160
_LOADS: Final = ("loading model", "model is loading", "currently loading", "still loading", "model not ready")
"""llama-server's and Ollama's words for it, TGI's, Hugging Face's."""
_AGAIN: Final = "Try again in a moment."
_ELSEWHERE: Final = "Choose another offer."

Reachability = Literal["here", "away", "misconfigured"]
"""Whether requests may go on, come again after a while, or need the owner first."""


class UpstreamError(EngineError):
    """An upstream server did not serve.

    Args:
        message: One sentence for a buyer.
        code: The stable code.
        fix: What the buyer can do.
        reachability: Whether the upstream can be rented out after this.
        owner: One sentence for the owner of this node, with the upstream's words.
        owner_fix: What the owner can do.
        retry_after_s: When the upstream asked to be tried again.
        is_starting: Whether it is there and not ready yet: or may be.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        fix: str = _AGAIN,
        reachability: Reachability = "here",
        owner: str = "",
        owner_fix: str = "",
        retry_after_s: float | None = None,
        is_starting: bool = False,
    ) -> None:
        super().__init__(message, code=code, fix=fix, retry_after_s=retry_after_s)
        self.reachability: Reachability = reachability
        self.owner = owner or message
        self.owner_fix = owner_fix
        self.is_starting = is_starting

    def owner_line(self) -> str:
        """What the owner of this node should read."""
        return f"{self.owner} {self.owner_fix}".strip()


class DroppedError(UpstreamError):
    """The upstream drops a part of a prompt, and says nothing.

    Args:
        counted: Tokens of the prompt, as it counts them.
        there: Tokens of the prompt's two halves, as it counts them one by one.
    """

    def __init__(self, counted: int, there: int) -> None:
        super().__init__(
            "The provider's server leaves out a part of this conversation.",
            code="context_too_long", fix="Shorten it, or start a new one.",
            owner=f"The upstream drops a part of what is too long: it counts {counted} tokens in a prompt of {there}.",
        )  # fmt: skip


class _Detail(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    """The error objects in use: OpenAI's, FastAPI's ``detail``, Ollama's and TGI's plain ``error`` text."""

    error: _Detail | str | None = None
    message: str | None = None
    detail: object = None
    error_type: str | None = None


_body = msgspec.json.Decoder(_Body)


def words_of(body: bytes) -> str:
    """What an error body says, harmless and short; the body's beginning where it is no error object."""
    try:
        read = _body.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return plain(body[: 4 * MAX_WORDS].decode("utf-8", "replace"), MAX_WORDS).strip()
    error = read.error
    kind, said = ("", error) if isinstance(error, str) else (_kind(error), error.message if error else None)
    said = said or read.message or (str(read.detail) if read.detail is not None else "") or read.error_type or ""
    return plain(f"{kind}{said}", MAX_WORDS).strip()


def _kind(error: _Detail | None) -> str:
    return f"{error.code}: " if error is not None and isinstance(error.code, str) else ""


def retry_after_s(header: str | None, *, now_s: float | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3), at most an hour, or ``None``.

    Args:
        header: Its value: seconds, or an HTTP date.
        now_s: The time that a date is compared with; this machine's by default.
    """
    if header is None or len(header) > MAX_HEADER_CHARS:
        return None
    try:
        wait_s = float(header)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(header).timestamp() - (time.time() if now_s is None else now_s)
        except (ValueError, OverflowError, TypeError):
            return None
    return None if math.isnan(wait_s) else min(MAX_RETRY_S, max(0.0, wait_s))


def again_fix(wait_s: float | None) -> str:
    """When to try again, as a fix."""
    return _AGAIN if wait_s is None else f"Try again in {max(1, math.ceil(wait_s))} s."


def _seconds(date: str | None) -> float | None:
    """An HTTP date in seconds UTC; ``None`` where there is none."""
    if date is None or len(date) > MAX_HEADER_CHARS:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def refusal(
    status: int, *, body: bytes = b"", retry_after: str | None = None, date: str | None = None
) -> UpstreamError:
    """The error for an answer that is no answer, by its HTTP status and its words.

    Args:
        status: The HTTP status.
        body: The answer, as it came.
        retry_after: The header of that name, if there was one.
        date: Likewise; a date in ``retry_after`` is by the same clock.
    """
    said = words_of(body)
    owner = f"The upstream answered {status}" + (f" ({said})." if said else ".")
    wait_s = retry_after_s(retry_after, now_s=_seconds(date))
    match status:
        case 429:
            return UpstreamError(
                "The provider's server is busy.",
                code="engine_busy", fix=again_fix(wait_s), owner=owner, retry_after_s=wait_s,
            )  # fmt: skip
        case _ if status == 503 or (status == 500 and any(words in said.lower() for words in _LOADS)):
            return UpstreamError(
                "The provider's server is unavailable.",
                code="engine_unavailable", fix=again_fix(wait_s), reachability="away", owner=owner,
                retry_after_s=wait_s, is_starting=True,
            )  # fmt: skip
        case 401 | 402 | 403 | 407:
            return _owners(owner, "upstream_refused", "Check the key in the variable that upstream_key_env names.")
        case 404 | 410:
            if "model" in said.lower():
                return _owners(owner, "unknown_model", "Choose a model that it has.")
            return _owners(owner, "upstream_unusable", "Check the upstream's address: it should end in /v1.")
        case 408 | 504:
            return UpstreamError("The provider's server took too long.", code="engine_stalled", owner=owner)
        case _ if 300 <= status < 400:
            return _owners(owner, "upstream_unusable", "It redirects: give its final address.")
        case _ if 400 <= status < 500:
            return request_refusal(said, owner)
        case 500 if "too large to process" in said:  # llama-server's of a text to embed
            return _too_long(owner)
        case _:
            # A proxy that loads models on demand says 502 until one is there.
            return UpstreamError(
                "The provider's server failed.", code="engine_crashed", owner=owner, is_starting=status == 502
            )


def _owners(owner: str, code: ErrorCode, owner_fix: str) -> UpstreamError:
    return UpstreamError(
        "The provider's server can't be used now.",
        code=code, fix=_ELSEWHERE, reachability="misconfigured", owner=owner, owner_fix=owner_fix,
    )  # fmt: skip


def request_refusal(said: str, owner: str) -> UpstreamError:
    """The error for a request that the upstream won't serve, by its words."""
    lower = said.lower()
    # A grammar's own words ("context-free", "model") say nothing of the conversation or the model.
    if "schema" in lower or "grammar" in lower or "response_format" in lower:
        return UpstreamError(
            "The provider's server can't hold an answer to this format.",
            code="bad_request", fix="Change the schema, or choose another offer.", owner=owner,
        )  # fmt: skip
    if "model" in lower and ("not_found" in lower or "not found" in lower or "does not exist" in lower):
        return _owners(owner, "unknown_model", "Choose a model that it has.")
    if "context" in lower or "too long" in lower or "too many tokens" in lower or "maximum length" in lower:
        return _too_long(owner)
    return UpstreamError(
        "The provider's server does not take this request.",
        code="bad_request", fix="Change the request's parameters, or choose another offer.", owner=owner,
    )  # fmt: skip


def _too_long(owner: str) -> UpstreamError:
    return UpstreamError(
        "The conversation is longer than the model's context.",
        code="context_too_long", fix="Shorten it, or start a new one.", owner=owner,
    )  # fmt: skip


def unreachable(why: str) -> UpstreamError:
    """No connection came about, or it broke before an answer."""
    return UpstreamError(
        "The provider's server can't be reached.",
        code="engine_unavailable", reachability="away",
        owner=f"The upstream can't be reached: {plain(why, MAX_WORDS) or 'no answer'}.",
        owner_fix="Start it, or check its address; it is tried again by itself.",
    )  # fmt: skip


def stalled(seconds: float) -> UpstreamError:
    """Nothing came for too long."""
    return UpstreamError(
        "The provider's server stopped answering.",
        code="engine_stalled", owner=f"The upstream sent nothing for {seconds:g} s.",
    )  # fmt: skip


def broken(what: str) -> UpstreamError:
    """What came is no answer of this API."""
    return UpstreamError(
        "The provider's server sent a broken answer.", code="engine_crashed", owner=f"The upstream sent {what}.",
    )  # fmt: skip
