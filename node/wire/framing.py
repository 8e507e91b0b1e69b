"""Frames in a byte stream: a 4-byte big-endian length, then that many bytes. Pure; imports almost nothing.

The control socket and the engine worker's socket pair use it. A relay's websocket does its own framing.
"""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct(">I")
HEADER_BYTES: Final = _HEADER.size
"""The length before each frame."""


class FrameTooLongError(Exception):
    """The peer announced a frame above the limit; the stream can't be read any further."""

    def __init__(self, length_bytes: int, max_bytes: int) -> None:
        super().__init__(f"A frame of {length_bytes} bytes exceeds the limit of {max_bytes}.")


def frame(body: bytes) -> bytes:
    """The body with its length before it."""
    return _HEADER.pack(len(body)) + body


def body_length(header: bytes | bytearray, *, max_bytes: int) -> int:
    """The length in bytes that a header announces.

    Args:
        header: ``HEADER_BYTES`` bytes.
        max_bytes: The longest body that is allowed.

    Raises:
        FrameTooLongError: If it is longer.
    """
    (length_bytes,) = _HEADER.unpack(header)
    if length_bytes > max_bytes:
        raise FrameTooLongError(length_bytes, max_bytes)
    return int(length_bytes)


class FrameSplitter:
    """Splits a byte stream into the bodies of its frames; feed it the bytes as they arrive.

    Args:
        max_bytes: The longest body that is allowed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that are complete with these bytes, in order.

        Raises:
            FrameTooLongError: If a frame exceeds the limit.
        """
        pending = self._pending
        pending += data
        bodies: list[bytes] = []
        at = 0
        while len(pending) - at >= HEADER_BYTES:
            body_at = at + HEADER_BYTES
            end = body_at + body_length(pending[at:body_at], max_bytes=self._max_bytes)
            if end > len(pending):
                break
            bodies.append(bytes(pending[body_at:end]))
            at = end
        del pending[:at]
        return bodies
