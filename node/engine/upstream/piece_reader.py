"""Reads one chat stream from its bytes to pieces of whole characters; pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from node.engine.upstream.chunks import Piece, read_piece
from node.engine.upstream.halves import HalfJoiner
from node.engine.upstream.sse import EventDecoder


class PieceReader:
    """Reads one stream: bytes to pieces of whole characters."""

    def __init__(self) -> None:
        self._decoder = EventDecoder()
        self._text = HalfJoiner()
        self._thinking = HalfJoiner()
        self.is_over = False
        """Whether the stream has ended, or said that it has."""

    def read(self, data: bytes | None) -> Iterator[Piece]:
        """What these bytes say; ``None`` for the end of the connection.

        Raises:
            UpstreamError: If they are an error, or no stream of a chat.
        """
        for event in self._decoder.finish() if data is None else self._decoder.feed(data):
            piece = read_piece(event)
            if piece.done:
                yield self._end(piece)
                return
            yield self._joined(piece)
        if data is None:
            yield self._end(Piece())

    def _joined(self, piece: Piece) -> Piece:
        text, thinking = self._text.join(piece.text), self._thinking.join(piece.thinking)
        if (text, thinking) == (piece.text, piece.thinking):
            return piece
        return msgspec.structs.replace(piece, text=text, thinking=thinking)

    def _end(self, piece: Piece) -> Piece:
        self.is_over = True
        return msgspec.structs.replace(piece, text=self._text.finish(), thinking=self._thinking.finish())
