"""One answer as it grows: tokens drawn, turned into text, cut into thinking and answer, and gathered to be sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from node.engine import ipc
from node.engine.thinking import Piece, ThinkingSplitter, ThinkingTags
from node.engine.worker.detokenizer import Detokenizer
from node.engine.worker.logprobs import token_logprob
from node.engine.worker.sampler import Sampler
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import TokenLogprob


@dataclass(slots=True)
class _Segment:
    """Text of one kind that was released and not sent yet."""

    thinking: bool
    text: list[str] = field(default_factory=list)
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)


class RequestOutput:
    """Everything about a running request that is not the context's business.

    Most answers have no thinking to keep apart and report no log-probabilities: for them a token costs no more than
    its draw and its text. All others go the long way, in which each token is placed by its first character.

    Args:
        request: What was asked.
        vocabulary: The model's.
        max_output_tokens: Tokens the answer may have.
        tags: What a reasoning model puts around its thinking.

    Raises:
        EngineError: With code ``bad_request`` if llama.cpp refuses the format.
    """

    def __init__(
        self,
        request: ipc.Generate,
        *,
        vocabulary: Vocabulary,
        max_output_tokens: int,
        tags: ThinkingTags | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._splitter = ThinkingSplitter(tags) if tags is not None else None
        self._top = request.logprobs
        self._plain = self._splitter is None and self._top is None
        self._text = Detokenizer(request.stop, None if self._plain else self._place)
        self._sampler = Sampler(
            request.sampling,
            seed=request.seed,
            vocabulary=vocabulary,
            max_tokens=max_output_tokens,
            grammar=request.grammar,
            bound=self._is_answering,
        )
        self._drawn: deque[TokenLogprob] = deque()
        """Of tokens that have bytes and are not placed yet, in order."""
        self._placed: deque[tuple[int, TokenLogprob | None]] = deque()
        """First character and log-probability of tokens that are not released yet, in order."""
        self._released_chars = 0
        self._segments: list[_Segment] = []
        self.draw = self._sampler.draw if self._top is None else self._draw_and_tell
        """The next token after a row of a context's last batch; see `Sampler.draw`."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met: nothing more is released."""
        return self._text.stopped

    @property
    def has_unsent(self) -> bool:
        """Whether `frames` would return some."""
        return bool(self._segments)

    def take(self, piece: bytes) -> int:
        """Add a drawn token's bytes; returns how many tokens were released with what can be sent now."""
        if not piece and self._drawn:
            self._drawn.pop()
        text, tokens = self._text.push(piece)
        return self._release(text, tokens)

    def finish(self) -> int:
        """Release what was held back; returns as `take` does."""
        text, tokens = ("", 0) if self._text.stopped else self._text.finish()
        released = self._release(text, tokens)
        return released if self._splitter is None else released + self._gather(self._splitter.finish())

    def frames(self, ticket: int) -> list[ipc.OutputText]:
        """What was released since the last call."""
        segments, self._segments = self._segments, []
        return [
            ipc.OutputText(ticket, "".join(one.text), one.tokens, one.thinking, tuple(one.logprobs)) for one in segments
        ]

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        self._sampler.close()

    def _is_answering(self) -> bool:
        return self._splitter is None or not self._splitter.thinking

    def _draw_and_tell(self, context: int, row: int) -> int:
        token = self._sampler.draw(context, row)
        assert self._top is not None
        self._drawn.append(token_logprob(context, row, token, self._top, self._vocabulary))
        return token

    def _place(self, first_char: int) -> None:
        self._placed.append((first_char, self._drawn.popleft() if self._drawn else None))

    def _release(self, text: str, tokens: int) -> int:
        if not text:
            return 0
        if self._plain:
            segment = self._segment(thinking=False)
            segment.text.append(text)
            segment.tokens += tokens
            return tokens
        return self._gather([(text, False)] if self._splitter is None else self._splitter.feed(text))

    def _gather(self, pieces: list[Piece]) -> int:
        """Put pieces into segments, each with the tokens that begin in it."""
        released = 0
        for text, thinking in pieces:
            self._released_chars += len(text)
            segment = self._segment(thinking=thinking)
            segment.text.append(text)
            while self._placed and self._placed[0][0] < self._released_chars:
                _, logprob = self._placed.popleft()
                segment.tokens += 1
                released += 1
                if logprob is not None:
                    segment.logprobs.append(logprob)
        return released

    def _segment(self, *, thinking: bool) -> _Segment:
        if not self._segments or self._segments[-1].thinking is not thinking:
            self._segments.append(_Segment(thinking))
        return self._segments[-1]
