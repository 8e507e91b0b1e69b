"""Questions and answers in a transcript; answers are Markdown that streams in."""

from __future__ import annotations

from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Collapsible, Markdown, Static
from textual.widgets.markdown import MarkdownStream

from node.values.text import TextDrawing
from screens.text import many_lines

FLUSH_S = 0.1
"""Streaming text reaches the screen at most this often."""
MAX_THINKING_CHARS = 32_768
"""The end of longer thinking is kept."""
MAX_NESTING = 12
"""Deeper quotes and lists in a stranger's Markdown are left flat."""


def answer_parser() -> MarkdownIt:
    """Markdown without autolinks and without bottomless nesting."""
    return MarkdownIt("gfm-like", {"linkify": False, "maxNesting": MAX_NESTING})


class Question(Static):
    """What was asked."""

    DEFAULT_CSS = """
    Question { height: auto; margin: 1 1 0 1; padding: 0 1; border-left: thick $primary; background: $boost; }
    Question:ansi { border-left: thick ansi_blue; background: ansi_default; text-style: bold; }
    """

    def __init__(self, text: str) -> None:
        super().__init__(Content(many_lines(text)), markup=False)


class Answer(Vertical):
    """An answer, and below it its cost or the reason of its failure.

    Attributes:
        text: The answer's Markdown as the model wrote it; what is drawn of it is neutralized.
    """

    DEFAULT_CSS = """
    Answer { height: auto; margin: 0 1; }
    Answer > Markdown { padding: 0 1; margin: 1 0 0 0; }
    Answer > Collapsible { height: auto; margin: 1 0 0 0; padding: 0 1; border: none; background: transparent; }
    Answer > Collapsible Static { color: $text-muted; text-style: dim; }
    Answer > .outcome { height: auto; padding: 0 1; color: $text-muted; }
    """

    def __init__(self, text: str = "", outcome: Content | None = None) -> None:
        super().__init__()
        self.text = text
        self._first_outcome = outcome
        self._pending: list[str] = []
        self._drawing = TextDrawing()
        self._thinking = ""
        self._thinking_drawing = TextDrawing()
        self._thinking_drawn = True
        self._stream: MarkdownStream | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Markdown and outcome."""
        yield Markdown(many_lines(self.text), open_links=False, parser_factory=answer_parser)
        yield Static(self._first_outcome or "", markup=False, classes="outcome")

    async def think(self, text: str) -> None:
        """Take some more of a reasoning model's thinking: it is folded away, dim, and no part of the answer."""
        self._thinking = (self._thinking + self._thinking_drawing.feed(text))[-MAX_THINKING_CHARS:]
        self._thinking_drawn = False
        if not self.query(Collapsible):
            await self.mount(Collapsible(Static(markup=False), title="Thinking"), before=0)
            self._draw_thinking()
        elif self._timer is None:
            self._timer = self.set_timer(FLUSH_S, self.flush)

    def _draw_thinking(self) -> None:
        if not self._thinking_drawn:
            self.query_one(Collapsible).query_one("Contents > Static", Static).update(Content(self._thinking))
            self._thinking_drawn = True

    async def feed(self, text: str) -> None:
        """Add text to the answer; it is drawn soon."""
        self.text += text
        self._pending.append(self._drawing.feed(text))
        if self._stream is None:
            await self.flush()
        elif self._timer is None:
            self._timer = self.set_timer(FLUSH_S, self.flush)

    async def flush(self) -> None:
        """Draw the new text, unless the screen is hidden."""
        self._timer = None
        self._draw_thinking()
        if not self._pending or (self._stream is not None and self.screen not in self.app.screen_stack):
            return
        if self._stream is None:
            self._stream = Markdown.get_stream(self.query_one(Markdown))
        text = "".join(self._pending)
        self._pending.clear()
        await self._stream.write(text)

    async def finish(self, outcome: Content) -> None:
        """The answer is over."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if last := self._thinking_drawing.finish():
            self._thinking, self._thinking_drawn = self._thinking + last, False
        self._draw_thinking()
        rest = "".join((*self._pending, self._drawing.finish()))
        self._pending.clear()
        if rest:
            stream = self._stream = self._stream or Markdown.get_stream(self.query_one(Markdown))
            await stream.write(rest)
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
        self.query_one(".outcome", Static).update(outcome)
