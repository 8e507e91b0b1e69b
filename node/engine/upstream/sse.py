"""Reads server-sent events (WHATWG HTML, section 9.2) and the chat chunks in them; pure, every byte bounded."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from node.engine.upstream.refusals import UpstreamError, broken, refusal, words_of

MAX_LINE_BYTES: Final = 1 << 20
MAX_EVENT_BYTES: Final = 2 << 20
DONE: Final = b"[DONE]"


class EventDecoder:
    """Cuts bytes into the data of events; feed it whatever arrived."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of events that are complete with these bytes.

        Raises:
            UpstreamError: If a line or an event is too long.
        """
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        events: list[bytes] = []
        *complete, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in complete:
            self._grow(part)
            event = self._take(bytes(self._line))
            self._line.clear()
            if event is not None:
                events.append(event)
        self._grow(rest)
        return events

    def _grow(self, part: bytes) -> None:
        if len(self._line) + len(part) > MAX_LINE_BYTES:
            raise broken("a line that is too long")
        self._line += part

    def _take(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data, self._data_bytes = self._data, [], 0
            return b"\n".join(data) if data else None
        field, _, value = line.partition(b":")
        # llama.cpp's server names the field of an error "error"; everything else that is not data is not for us.
        if field not in {b"data", b"error"}:
            return None
        value = value.removeprefix(b" ")
        self._data_bytes += len(value) + 1
        if self._data_bytes > MAX_EVENT_BYTES:
            raise broken("an event that is too long")
        self._data.append(value)
        return None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    """A reasoning model's thinking, taken out of the answer: llama-server's and older vLLM's name for it."""
    reasoning: str | None = None
    """The same by vLLM's newer name, which is Ollama's too."""


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()
    """Read only where they were asked for."""


class Usage(msgspec.Struct):
    """Token counts as the upstream states them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Timings(msgspec.Struct):
    predicted_n: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None
    timings: _Timings | None = None
    error: Any = None
    object: str | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What one event of a chat stream says."""

    text: str = ""
    thinking: str = ""
    """What the model thinks before it answers, where the upstream tells the two apart."""
    finish_reason: str | None = None
    logprobs: bytes = b""
    """The choice's ``logprobs`` as JSON, for `LogprobReader`."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Tokens made so far, or in all; only what the upstream itself says."""
    done: bool = False


_chunk = msgspec.json.Decoder(_Chunk)
MAX_TOKENS: Final = 2**31 - 1


def read_piece(data: bytes) -> Piece:
    """Read one event of a chat stream.

    Raises:
        UpstreamError: If it is an error, or no chunk of a chat.
    """
    if data.strip() == DONE:
        return Piece(done=True)
    try:
        chunk = _chunk.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise broken("an event that is no chat chunk") from None
    if chunk.error is not None or chunk.object == "error":
        raise _stated(data)
    choice = chunk.choices[0] if chunk.choices else _Choice()
    usage = chunk.usage or Usage()
    made = usage.completion_tokens
    if made is None and chunk.timings is not None:
        made = chunk.timings.predicted_n
    delta = choice.delta or _Delta()
    return Piece(
        text=_whole(delta.content),
        thinking=_whole(delta.reasoning_content or delta.reasoning),
        finish_reason=choice.finish_reason,
        logprobs=b"" if bytes(choice.logprobs) == b"null" else bytes(choice.logprobs),
        prompt_tokens=count_of(usage.prompt_tokens),
        completion_tokens=count_of(made),
    )


def _whole(text: str | None) -> str:
    """Text without halves of surrogate pairs, which have no bytes to be counted, hashed or sent."""
    return (text or "").encode("utf-8", "replace").decode()


def count_of(value: int | None) -> int | None:
    """A count of tokens within reason, or none."""
    return value if value is not None and 0 <= value <= MAX_TOKENS else None


class _Status(msgspec.Struct):
    code: int | str | None = None


class _ErrorEvent(msgspec.Struct):
    error: _Status | str | None = None
    code: int | str | None = None


def _stated(data: bytes) -> UpstreamError:
    """An error inside a stream whose status was 200 already: by the status it names, else a failure."""
    try:
        event = msgspec.json.decode(data, type=_ErrorEvent)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        event = _ErrorEvent()
    named = event.error.code if isinstance(event.error, _Status) else event.code
    status = named if isinstance(named, int) and 400 <= named < 600 else 500
    if status == 500 and "context" in words_of(data).lower():
        status = 400
    return refusal(status, body=data)
