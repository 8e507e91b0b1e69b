"""Undoes the compression of a server that compresses unasked; pure, what comes out of it bounded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from node.engine.upstream.refusals import broken
from node.values.text import plain

_EITHER_HEADER: Final = 47
"""Tells zlib to find out whether the data is gzip's or its own (zlib manual, ``inflateInit2``)."""
_NONE: Final = frozenset({"", "identity"})
_KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Inflater:
    """Undoes one body's compression.

    Args:
        encoding: The body's ``Content-Encoding``.

    Raises:
        UpstreamError: If it is one that was not asked for and is not known here.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in _NONE | _KNOWN:
            raise broken(f"an answer compressed by {plain(encoding, 20)}, though it was asked not to")
        self._inflating = zlib.decompressobj(_EITHER_HEADER) if encoding in _KNOWN else None

    def feed(self, data: bytes, most_bytes: int) -> Iterator[bytes]:
        """What these bytes hold, in parts of at most this size: a small body may hold a huge one.

        Raises:
            UpstreamError: If they are not compressed as was said.
        """
        if self._inflating is None:
            yield data
            return
        while data:
            try:
                part = self._inflating.decompress(data, most_bytes)
            except zlib.error:
                raise broken("an answer whose compression is damaged") from None
            if part:
                yield part
            data = self._inflating.unconsumed_tail
