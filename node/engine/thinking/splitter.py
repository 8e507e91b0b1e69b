"""Cuts what a model writes into thinking, answer, and the markers around them.

Nothing is taken out: all pieces together are every character in order, and how the text arrives changes nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from node.engine.thinking.form import INLINE_FORMS, ThinkingForm

MAX_HEADER_CHARS = 256
"""A channel's header that goes on for longer is none."""
MAX_SPACE_CHARS = 64
"""White space beside a marker that belongs to the marker."""

State = Literal["start", "thinking", "between", "answer", "over"]


class Piece(NamedTuple):
    """Some text, whether it is no part of the answer, and whether it is only a marker of thinking or answer."""

    text: str
    thinking: bool
    marker: bool = False


class ThinkingSplitter:
    """Cuts a stream of text along one model's markers; only text that may become a marker is held back.

    Args:
        form: How the model marks its thinking.
        opened: Whether the prompt ends inside thinking.
        marks_tokens: Whether `mark` is called for each of the form's tokens. Else any text like a marker is one.
    """

    def __init__(self, form: ThinkingForm, *, opened: bool = False, marks_tokens: bool = False) -> None:
        self._form = form
        self._state: State = "thinking" if opened else "start"
        self._buffer = ""
        self._buffer_at = 0
        self._marked: set[int] | None = set() if marks_tokens else None
        self._is_fresh = opened
        """Whether white space here still belongs to the marker before it."""
        self._out: list[Piece] = []
        headers: list[tuple[str, State]] = [(form.begin, "thinking"), (form.answer, "answer")]
        self._headers = [(text, to) for text, to in headers if text]
        if form.role:
            self._headers += [(form.role + text, to) for text, to in self._headers]
        closers: list[tuple[str, State]] = [(form.end, "between")] if form.end else []
        self._first_headers = [*self._headers, *closers]
        if form.answer and (form.channel is None or not form.end):
            closers.append((form.answer, "answer"))
        self._closers = closers

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thinking."""
        return self._state == "thinking"

    @property
    def before_answer(self) -> bool:
        """Whether the model thinks, or is between thinking and its answer."""
        return self._state in ("thinking", "between")

    @property
    def over(self) -> bool:
        """Whether the answer was closed by its own marker: nothing follows."""
        return self._state == "over"

    @property
    def is_settled(self) -> bool:
        """Whether all text to come is the answer, and need not be fed."""
        return self._state == "answer" and not self._buffer and not self._has_stop

    @property
    def answering(self) -> bool:
        """Whether what comes next is bound to be the answer.

        Before an answer that has a header, this is so from the header on.
        """
        if self._state in ("start", "between"):
            return not self._form.has_header
        return self._state != "thinking"

    @property
    def is_holding(self) -> bool:
        """Whether some text waits for more."""
        return bool(self._buffer)

    def admits(self, text: str) -> bool:
        """Whether text that comes next, before the answer, may still belong to a marker or to thinking."""
        if self._state == "thinking":
            return True
        held = (self._buffer + text).lstrip()
        return not held or self._header(held) is not None

    def mark(self, position: int) -> None:
        """Say that one of the form's tokens, and not a spelling of it, begins at this character of the whole text."""
        if self._marked is not None:
            self._marked.add(position)

    def feed(self, text: str) -> list[Piece]:
        """Add text; returns what is decided."""
        self._buffer += text
        while self._buffer and self._advance():
            pass
        return self._taken()

    def finish(self) -> list[Piece]:
        """The text is complete: returns what was held back."""
        held = self._buffer
        match self._state:
            case "thinking":
                self._emit(len(held.rstrip()), thinking=True)
                self._emit(len(self._buffer), thinking=True, marker=True)
            case "start" if self._marked is None or not self._is_marked(len(held) - len(held.lstrip())):
                self._emit(len(held), thinking=False)
            case "answer":
                self._emit(len(held), thinking=False)
            case _:
                self._emit(len(held), thinking=True, marker=True)
        return self._taken()

    def _advance(self) -> bool:
        """Decide on some text; False where it may still become something else."""
        match self._state:
            case "start" | "between":
                return self._at_header()
            case "thinking":
                return self._in_thinking()
            case "answer":
                return self._in_answer()
            case "over":
                self._emit(len(self._buffer), thinking=True, marker=True)
                return True

    def _at_header(self) -> bool:
        text = self._buffer.lstrip()
        space = len(self._buffer) - len(text)
        if self._state == "between" and space:
            self._emit(space, thinking=True, marker=True)
            return True
        found = self._header(text) if space <= MAX_SPACE_CHARS else None
        if found == 0:
            return False
        if found is None:
            self._state = "answer"
            return True
        length, state = found
        if self._form.channel is None and not self._is_written(text[:length], space):
            # A model that spells its opening tag spells the closing one too.
            self._marked = None
        self._emit(space + length, thinking=True, marker=True)
        self._state, self._is_fresh = state, True
        return True

    def _header(self, text: str) -> tuple[int, State] | Literal[0] | None:
        """The length of a header that a text begins with and what it opens; 0 if it may become one."""
        channel = self._form.channel
        is_first = self._state == "start"
        if channel is not None:
            before = [channel.prefix, self._form.role + channel.prefix] + [self._form.role] * bool(self._form.role)
            if any(text.startswith(one) for one in before):
                return self._channel_header(text)
            if any(one.startswith(text) for one in before):
                return 0
        elif not is_first and not self._form.has_header:
            # After a pair, one more opening tag is the answer's own text.
            return None
        headers = self._first_headers if is_first else self._headers
        for marker, state in headers:
            if text.startswith(marker):
                return len(marker), state
        return 0 if any(marker.startswith(text) for marker, _ in headers) else None

    def _channel_header(self, text: str) -> tuple[int, State] | Literal[0] | None:
        channel = self._form.channel
        assert channel is not None
        end = text.find(channel.suffix)
        if end < 0:
            return 0 if len(text) < MAX_HEADER_CHARS + len(channel.suffix) else None
        if end > MAX_HEADER_CHARS:
            return None
        _, _, name = text[:end].partition(channel.prefix)
        is_answer = name.split()[:1] == [channel.answer]
        return end + len(channel.suffix), "answer" if is_answer else "thinking"

    def _in_thinking(self) -> bool:
        if self._is_fresh:
            space = len(self._buffer) - len(self._buffer.lstrip())
            if space:
                self._emit(space, thinking=True, marker=True)
                return True
            self._is_fresh = False
        found = self._first_of(self._closers)
        if found is not None:
            at, marker, state = found
            text = self._buffer[:at]
            space = min(len(text) - len(text.rstrip()), MAX_SPACE_CHARS)
            self._emit(at - space, thinking=True)
            self._emit(space + len(marker), thinking=True, marker=True)
            self._state, self._is_fresh = state, True
            return True
        open_ended = self._buffer[: len(self._buffer) - self._held(self._closers)]
        space = min(len(open_ended) - len(open_ended.rstrip()), MAX_SPACE_CHARS)
        self._emit(len(open_ended) - space, thinking=True)
        return False

    def _in_answer(self) -> bool:
        # Spelled text never ends an answer: only the model's own token does.
        closers: list[tuple[str, State]] = [(self._form.stop, "over")] if self._has_stop else []
        found = self._first_of(closers)
        if found is None:
            self._emit(len(self._buffer) - self._held(closers), thinking=False)
            return False
        at, marker, state = found
        self._emit(at, thinking=False)
        self._emit(len(marker), thinking=True, marker=True)
        self._state = state
        return True

    @property
    def _has_stop(self) -> bool:
        return bool(self._form.stop) and self._marked is not None

    def _first_of(self, markers: list[tuple[str, State]]) -> tuple[int, str, State] | None:
        """The first marker in the buffer."""
        best: tuple[int, str, State] | None = None
        for marker, state in markers:
            at = self._buffer.find(marker)
            while at >= 0 and not self._is_written(marker, at):
                at = self._buffer.find(marker, at + 1)
            if at >= 0 and (best is None or at < best[0]):
                best = at, marker, state
        return best

    def _is_written(self, marker: str, at: int) -> bool:
        """Whether the model wrote a marker's tokens, and did not spell them."""
        return all(self._is_marked(at + marker.find(part)) for part in self._form.tokens if part in marker)

    def _is_marked(self, at: int) -> bool:
        return self._marked is None or self._buffer_at + at in self._marked

    def _held(self, markers: list[tuple[str, State]]) -> int:
        """How many characters at the end may be the beginning of a marker."""
        buffer = self._buffer
        for length in range(min(max((len(one) - 1 for one, _ in markers), default=0), len(buffer)), 0, -1):
            if any(one.startswith(buffer[-length:]) for one, _ in markers):
                return length
        return 0

    def _emit(self, length: int, *, thinking: bool, marker: bool = False) -> None:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        self._buffer_at += len(text)
        if text:
            self._out.append(Piece(text, thinking, marker))

    def _taken(self) -> list[Piece]:
        out, self._out = self._out, []
        return out


class InlineSplitter:
    """Cuts a stream of a model of which only the text is known, by the forms that are in use.

    The text's beginning decides: where it is no marker, no later one means anything.

    Args:
        opened: A pair of tags, the first of which the prompt ends with.
    """

    def __init__(self, opened: tuple[str, str] | None = None) -> None:
        self._splitter: ThinkingSplitter | None = None
        if opened is not None:
            self._splitter = ThinkingSplitter(ThinkingForm(*opened), opened=True)
        self._held = ""
        self._is_plain = False

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thinking."""
        return self._splitter is not None and self._splitter.thinking

    @property
    def before_answer(self) -> bool:
        """Whether the model thinks, or is between thinking and its answer."""
        return self._splitter is not None and self._splitter.before_answer

    @property
    def is_settled(self) -> bool:
        """Whether all text to come is the answer, and need not be fed."""
        return self._is_plain or (self._splitter is not None and self._splitter.is_settled)

    @property
    def is_holding(self) -> bool:
        """Whether some text waits for more."""
        return bool(self._held) if self._splitter is None else self._splitter.is_holding

    def feed(self, text: str) -> list[Piece]:
        """Add text; returns what is decided."""
        if self._splitter is not None:
            return self._splitter.feed(text)
        if self._is_plain:
            return [Piece(text, thinking=False)] if text else []
        self._held += text
        start = self._held.lstrip()
        if len(self._held) - len(start) <= MAX_SPACE_CHARS:
            for form in INLINE_FORMS:
                if start.startswith(form.openers):
                    self._splitter = ThinkingSplitter(form)
                    return self._splitter.feed(self._let_go())
            if any(opener.startswith(start) for form in INLINE_FORMS for opener in form.openers):
                return []
        self._is_plain = True
        return [Piece(self._let_go(), thinking=False)]

    def finish(self) -> list[Piece]:
        """The text is complete: returns what was held back."""
        if self._splitter is not None:
            return self._splitter.finish()
        held = self._let_go()
        return [Piece(held, thinking=False)] if held else []

    def _let_go(self) -> str:
        held, self._held = self._held, ""
        return held
