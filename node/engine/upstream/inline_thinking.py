"""Makes chunks of a server's pieces: thinking that a server leaves in the text of the answer is told from it; pure."""

from __future__ import annotations

from node.engine.protocol import Chunk
from node.engine.thinking.form import INLINE_PAIRS
from node.engine.thinking.splitter import InlineSplitter
from node.engine.thinking.splitter import Piece as Part
from node.engine.upstream.chunks import Piece
from node.values.inference import TokenLogprob


class ChunkMaker:
    """Makes the chunks of one stream, each all thinking, all answer or all marker.

    Args:
        opened: The pair of tags that this server opens in the prompt, so that the text begins inside.
    """

    def __init__(self, opened: tuple[str, str] | None = None) -> None:
        self._splitter = InlineSplitter(opened)
        self._is_told_apart = False
        """Whether the server itself takes the thinking out of the text."""
        self._tokens = 0
        self._logprobs: tuple[TokenLogprob, ...] = ()

    def take(self, piece: Piece, tokens: int, logprobs: tuple[TokenLogprob, ...]) -> list[Chunk]:
        """The chunks of a piece; tokens and log-probabilities go with the first text that is sent.

        Args:
            piece: What the server sent.
            tokens: Tokens to bill with it.
            logprobs: Those that belong to it.
        """
        self._tokens += tokens
        self._logprobs += logprobs
        parts: list[Part] = []
        if piece.thinking:
            parts = self._splitter.finish()
            self._is_told_apart = True
            parts.append(Part(piece.thinking, thinking=True))
        if piece.text:
            plain = [Part(piece.text, thinking=False)]
            parts += plain if self._is_told_apart else self._splitter.feed(piece.text)
        return self._chunks(parts, waits=self._splitter.is_holding)

    def finish(self) -> list[Chunk]:
        """The stream is over: what was held back."""
        return self._chunks(self._splitter.finish(), waits=False)

    def _chunks(self, parts: list[Part], *, waits: bool) -> list[Chunk]:
        if not parts and (waits or not self._tokens):
            return []
        tokens, logprobs, self._tokens, self._logprobs = self._tokens, self._logprobs, 0, ()
        return [
            Chunk(
                text=text,
                tokens=0 if place else tokens,
                thinking=thinking,
                marker=marker,
                logprobs=() if place else logprobs,
            )
            for place, (text, thinking, marker) in enumerate(parts or [Part("", thinking=False)])
        ]


def opened_pair(text: str) -> tuple[str, str] | None:
    """The pair of tags that a whole text closes without having opened it."""
    for begin, end in INLINE_PAIRS:
        if end in text and begin not in text:
            return begin, end
    return None
