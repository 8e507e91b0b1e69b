"""Reads a file's header piece by piece through one small window, whatever lengths the file claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from node.models.model_error import TO_WHOLE_FILE, ModelError

_WINDOW_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """What of one file's header is read and kept."""

    header_bytes: int = 128 * 1024 * 1024
    array_items: int = 8_000_000
    """Over all arrays; the largest real vocabularies, with merges and scores, stay near a million."""
    kept_text_bytes: int = 4 * 1024 * 1024
    """Of all kept texts together."""
    kept_numbers: int = 256 * 1024
    """In all kept arrays together."""


DEFAULT_LIMITS = HeaderLimits()


class HeaderWindow:
    """Reads a header forward through a bounded window, and never past the end of the file.

    Args:
        file: The file, at its beginning.
        size: Its bytes.
        shown: Its name, as it may stand in a message.
        limits: What is read and kept of it.
    """

    def __init__(self, file: BinaryIO, size: int, shown: str, limits: HeaderLimits = DEFAULT_LIMITS) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0
        self._window_end = 0
        self._max_bytes = limits.header_bytes
        self.size = size
        self.shown = shown
        self.items_left = limits.array_items
        self.text_bytes_left = limits.kept_text_bytes
        self.numbers_left = limits.kept_numbers

    @property
    def position(self) -> int:
        """Bytes that were read or skipped."""
        return self._window_end - len(self._buffer) + self._at

    @property
    def remaining(self) -> int:
        """Bytes that the file still has."""
        return self.size - self.position

    def truncated(self) -> ModelError:
        """What to raise where the file ends too early."""
        return ModelError(f"The model file {self.shown} is truncated.", fix=TO_WHOLE_FILE)

    def broken(self, why: str) -> ModelError:
        """What to raise where the file contradicts itself."""
        return ModelError(f"The model file {self.shown} is broken: {why}.", fix=TO_WHOLE_FILE)

    def take(self, count: int) -> bytes:
        """The next bytes; raises if there are fewer, or the header gets too long."""
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = self._at + count
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def rewind(self, position: int) -> None:
        """Go back to a place in what was just taken."""
        self._at -= self.position - position

    def skip(self, count: int) -> None:
        """Go past bytes without reading them."""
        if count <= len(self._buffer) - self._at:
            self._at += count
            return
        self._check_room(count)
        self._window_end = self.position + count
        self._file.seek(self._window_end)
        self._buffer, self._at = b"", 0

    def u32(self) -> int:
        """A little-endian number of four bytes."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """A little-endian number of eight bytes."""
        return int.from_bytes(self.take(8), "little")

    def text(self, limit: int) -> str:
        """A text with its length before it, which may be up to `limit` bytes."""
        length = self.u64()
        if length > limit:
            raise self.broken(f"a name in it claims {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def _check_room(self, count: int) -> None:
        if count > self.remaining:
            raise self.truncated()
        if self.position + count > self._max_bytes:
            raise self.broken("its header is too long")

    def _fill(self, count: int) -> None:
        self._check_room(count)
        rest = self._buffer[self._at :]
        want = max(count - len(rest), min(_WINDOW_BYTES, self.size - self._window_end))
        fresh = bytearray()
        while len(fresh) < want:
            piece = self._file.read(want - len(fresh))
            if not piece:
                break
            fresh += piece
        self._buffer, self._at = rest + bytes(fresh), 0
        self._window_end += len(fresh)
        if len(self._buffer) < count:
            raise self.truncated()
