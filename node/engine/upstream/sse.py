"""Cuts a stream of bytes into server-sent events (WHATWG HTML, section 9.2); pure, every byte bounded.

Servers that say they send events break the format in known ways, each read as what it means: an event that ends with
one line end instead of two, a line of JSON without its field's name, a last event that nothing ends.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Final

from node.engine.upstream.refusals import broken

MAX_LINE_BYTES: Final = 1 << 20
MAX_EVENT_BYTES: Final = 2 << 20
DONE: Final = b"[DONE]"
_FIELDS: Final = (b"data", b"event", b"error", b"id", b"retry", b":")


class EventDecoder:
    """Cuts bytes into the data of events; feed it whatever arrived, and call `finish` at the end.

    Args:
        max_line_bytes: The longest line that is taken.
        max_event_bytes: The longest event that is taken.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False
        self._is_first_line = True

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
            events += self._take_line()
        self._grow(rest)
        return events

    def finish(self) -> list[bytes]:
        """The data of a last event that no empty line ended: many servers just close the connection."""
        return [*self._take_line(), *self._end_event()]

    def _grow(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._max_line_bytes:
            raise broken("a line that is too long")
        self._line += part

    def _take_line(self) -> list[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if self._is_first_line:
            self._is_first_line, line = False, line.removeprefix(BOM_UTF8)
        if not line:
            return self._end_event()
        if line.startswith(b"{"):
            value = line
        else:
            field, _, value = line.partition(b":")
            # llama.cpp's server names the field of an error "error"; everything else that is not data is not for us.
            if field not in {b"data", b"error"}:
                return []
            value = value.removeprefix(b" ")
        if value.rstrip() == DONE:
            return [*self._end_event(), value]
        if not self._data and _is_object(value):
            return [value]
        return self._add(value)

    def _add(self, value: bytes) -> list[bytes]:
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max_event_bytes:
            raise broken("an event that is too long")
        self._data.append(value)
        return []

    def _end_event(self) -> list[bytes]:
        data, self._data, self._data_bytes = self._data, [], 0
        return [b"\n".join(data)] if data else []


def _is_object(value: bytes) -> bool:
    """Whether a line of data is a whole chunk, whatever line comes after it: no server breaks one over lines."""
    return value.startswith(b"{") and value.rstrip().endswith(b"}")


def looks_like_events(data: bytes) -> bool:
    """Whether a body begins as a stream of events does, whatever its type is said to be."""
    return data.removeprefix(BOM_UTF8).lstrip(b"\r\n").startswith(_FIELDS)
