"""One answer as it grows: tokens drawn, turned into text, cut into thinking and answer, and gathered to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from node.engine import ipc
from node.engine.thinking.form import ThinkingForm
from node.engine.thinking.splitter import InlineSplitter, Piece, ThinkingSplitter
from node.engine.worker.detokenizer import Detokenizer
from node.engine.worker.logprobs import token_logprob
from node.engine.worker.sampler import Sampler
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import TokenLogprob

NO_MARKS: Mapping[int, bytes] = MappingProxyType({})


@dataclass(slots=True)
class _Segment:
    """Text of one kind that was released and not sent yet."""

    thinking: bool
    marker: bool
    text: list[str] = field(default_factory=list)
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)


class RequestOutput:
    """Everything about a running request that is not the context's business.

    Most answers, and most of each, have no thinking to keep apart and report no log-probabilities: there a token costs
    no more than its draw and its text. All others go the long way, which places each token by its first character.
    A model that is not known to think may still be made of one that does, so the beginning of an answer is looked at.

    Args:
        request: What was asked.
        vocabulary: The model's.
        max_output_tokens: Tokens the answer may have.
        thinking: How a reasoning model marks its thinking.
        marks: Those parts of its markers that are tokens, with their bytes.
        opened: Whether the prompt ends inside thinking.

    Raises:
        EngineError: With code ``bad_request`` if llama.cpp refuses the format.
    """

    def __init__(
        self,
        request: ipc.Generate,
        *,
        vocabulary: Vocabulary,
        max_output_tokens: int,
        thinking: ThinkingForm | None = None,
        marks: Mapping[int, bytes] = NO_MARKS,
        opened: bool = False,
    ) -> None:
        self._vocabulary = vocabulary
        self._form = thinking
        self._marks = marks
        self._splitter = _splitter_of(thinking, request, opened=opened, marks_tokens=bool(marks))
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
            begins_answer=self._begins_answer,
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
        """Whether a stop string was met, or the model closed its answer: nothing more is released."""
        return self._text.stopped or (isinstance(self._splitter, ThinkingSplitter) and self._splitter.over)

    @property
    def has_unsent(self) -> bool:
        """Whether `frames` would return some."""
        return bool(self._segments)

    def beyond_end(self, token: int) -> bytes | None:
        """The text of a token that ends answers, where a model that thinks goes on after it; None where it ends."""
        piece = self._marks.get(token)
        if piece is None or self._form is None or self._splitter is None or not self._splitter.thinking:
            return None
        return piece if self._form.end.startswith(piece.decode()) else None

    def take(self, piece: bytes, token: int = -1) -> int:
        """Add a drawn token's bytes; returns how many tokens were released with what can be sent now."""
        if not piece and self._drawn:
            self._drawn.pop()
        # A stop string ends the answer: where the model still thinks, there is none to end.
        self._text.watches_stops = self._splitter is None or not self._splitter.before_answer
        text, tokens = self._text.push(piece)
        if token in self._marks and isinstance(self._splitter, ThinkingSplitter):
            self._splitter.mark(self._text.decoded - len(piece.decode()))
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
            ipc.OutputText(ticket, "".join(one.text), one.tokens, one.thinking, tuple(one.logprobs), one.marker)
            for one in segments
        ]

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        self._sampler.close()

    def _is_answering(self) -> bool:
        return not isinstance(self._splitter, ThinkingSplitter) or self._splitter.answering

    def _begins_answer(self, token: int) -> bool:
        """Whether a token would be neither thinking nor a part of a marker."""
        if not isinstance(self._splitter, ThinkingSplitter) or self._splitter.thinking:
            return False
        piece = self._vocabulary.piece(token)
        return piece is None or not self._splitter.admits(piece.decode("utf-8", "replace"))

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
            segment = self._segment(thinking=False, marker=False)
            segment.text.append(text)
            segment.tokens += tokens
            return tokens
        if self._splitter is None:
            return self._gather([Piece(text, thinking=False)])
        released = self._gather(self._splitter.feed(text))
        if self._splitter.is_settled:
            self._settle()
        return released

    def _settle(self) -> None:
        """Go on the short way: all that follows is the answer."""
        self._splitter = None
        if self._top is None:
            self._plain = True
            self._text.place_no_more()

    def _gather(self, pieces: list[Piece]) -> int:
        """Put pieces into segments, each with the tokens that begin in it."""
        released = 0
        for text, thinking, marker in pieces:
            self._released_chars += len(text)
            segment = self._segment(thinking=thinking, marker=marker)
            segment.text.append(text)
            while self._placed and self._placed[0][0] < self._released_chars:
                _, logprob = self._placed.popleft()
                segment.tokens += 1
                released += 1
                if logprob is not None:
                    segment.logprobs.append(logprob)
        return released

    def _segment(self, *, thinking: bool, marker: bool) -> _Segment:
        last = self._segments[-1] if self._segments else None
        if last is None or last.thinking is not thinking or last.marker is not marker:
            self._segments.append(last := _Segment(thinking, marker))
        return last


def _splitter_of(
    thinking: ThinkingForm | None, request: ipc.Generate, *, opened: bool, marks_tokens: bool
) -> ThinkingSplitter | InlineSplitter | None:
    if thinking is not None:
        return ThinkingSplitter(thinking, opened=opened, marks_tokens=marks_tokens)
    # An answer in a format begins with the format.
    return None if request.grammar else InlineSplitter()
