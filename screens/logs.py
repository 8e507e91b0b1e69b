"""Logs: the node's log lines, filtered and followed."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, RichLog, Static

from node.values import LogLine
from screens.base import NodeScreen
from screens.node_feed import NodeFeed
from screens.text import clock, counted, one_line

LEVELS = ("debug", "info", "warning", "error")
_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}
_MARKS = {
    "debug": ("·", "dim"),
    "info": (" ", ""),
    "warning": ("▲", "yellow"),
    "error": ("✗", "red"),
    "critical": ("✗", "bold red"),
}
MAX_LINE_CHARS = 1000


def log_text(line: LogLine) -> Text:
    """One line: time, level by shape, word and colour, source, text."""
    mark, style = _MARKS[line.level]
    return Text.assemble(
        (clock(line.at_ms), "dim"), " ", (f"{mark} {line.level[:7].ljust(7)}", style), " ",
        (one_line(line.source, 14).ljust(10), "cyan"), " ", one_line(line.text, MAX_LINE_CHARS),
    )  # fmt: skip


class LogsScreen(NodeScreen):
    """The newest lines, from every part of the node."""

    TITLE_TEXT = "Logs"
    HELP_TEXT = (
        "What the node writes to its log. l changes the lowest level shown, / searches, f follows or holds still. "
        "Secrets never stand here; prompts neither."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "level", "Level", id="logs.level"),
        Binding("slash", "search", "Search", id="logs.search"),
        Binding("f", "follow", "Follow", id="logs.follow"),
        Binding("escape", "clear", "Clear search", show=False, id="logs.clear"),
        Binding("j", "scroll(1)", "Down", show=False, id="logs.down"),
        Binding("k", "scroll(-1)", "Up", show=False, id="logs.up"),
        Binding("g", "edge(False)", "Top", show=False, id="logs.top"),
        Binding("G", "edge(True)", "Bottom", show=False, id="logs.bottom"),
    ]

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self.lowest = "info"
        self.following = True
        self._asked = False
        self._missed = True

    def compose_body(self) -> ComposeResult:
        """Search and lines."""
        yield Input(placeholder="search", id="logs-search", classes="hidden", compact=True)
        log = RichLog(id="logs-lines", classes="panel grow", markup=False, wrap=True, max_lines=2000, min_width=20)
        log.border_title = "Log"
        yield log
        yield Static("", id="logs-empty", classes="empty", markup=False)

    def on_mount(self) -> None:
        """Follow the log."""
        self.feed.logged.subscribe(self, self._logged)
        self._log.focus()

    def on_resize(self) -> None:
        """Wrap anew."""
        self._missed = True
        self.call_after_refresh(self.show)

    @property
    def _log(self) -> RichLog:
        return self.query_one("#logs-lines", RichLog)

    @property
    def _search(self) -> Input:
        return self.query_one("#logs-search", Input)

    async def load(self) -> None:
        """Ask for the lines from before this screen was opened, once."""
        if self._asked:
            return
        self._asked = True
        earlier = await self.feed.api.logs()
        known = set(self.feed.log_lines)
        lines = [line for line in earlier if line not in known] + list(self.feed.log_lines)
        self.feed.log_lines.clear()
        self.feed.log_lines.extend(sorted(lines, key=lambda line: line.at_ms))
        self._missed = True

    def _wanted(self, line: LogLine) -> bool:
        if _RANK[line.level] < _RANK[self.lowest]:
            return False
        search = self._search.value.lower()
        return not search or search in f"{line.source} {line.text}".lower()

    def _logged(self, lines: tuple[LogLine, ...]) -> None:
        if not self.looked_at:
            self._stale = self._missed = True
            return
        for line in lines:
            if self._wanted(line):
                self._log.write(log_text(line), scroll_end=self.following)
        self._show_state()

    def show(self) -> None:
        """Write all lines anew, if something changed what is shown."""
        if self._missed and self._log.size.width:
            self._missed = False
            self._log.clear()
            for line in self.feed.log_lines:
                if self._wanted(line):
                    self._log.write(log_text(line), scroll_end=self.following)
        self._show_state()

    def _show_state(self) -> None:
        self._log.border_subtitle = Content(
            f"{self.lowest} and above · {'following' if self.following else 'holding still'} · "
            f"{counted(len(self.feed.log_lines), 'line')}"
        )
        shown = bool(self._log.lines) or not self._asked
        empty = self.query_one("#logs-empty", Static)
        empty.set_class(shown, "hidden")
        empty.update(
            "Nothing at this level. l shows more, esc clears the search."
            if self.feed.log_lines
            else "Nothing was logged yet."
        )

    def _again(self) -> None:
        self._missed = True
        self.show()

    def action_level(self) -> None:
        """Show from the next level on."""
        self.lowest = LEVELS[(LEVELS.index(self.lowest) + 1) % len(LEVELS)]
        self._again()

    def action_follow(self) -> None:
        """Follow new lines, or hold still."""
        self.following = not self.following
        if self.following:
            self._log.scroll_end(animate=False)
        self._show_state()

    def action_search(self) -> None:
        """Type what to look for."""
        self._search.remove_class("hidden")
        self._search.focus()

    def action_clear(self) -> None:
        """Forget the search."""
        self._search.value = ""
        self._search.add_class("hidden")
        self._log.focus()

    def action_scroll(self, lines: int) -> None:
        """Scroll, and stop following."""
        self.following = False
        self._log.scroll_relative(y=lines, animate=False)
        self._show_state()

    def action_edge(self, bottom: bool) -> None:
        """Go to the end (and follow again) or to the beginning."""
        self.following = bottom
        if bottom:
            self._log.scroll_end(animate=False)
        else:
            self._log.scroll_home(animate=False)
        self._show_state()

    @on(Input.Changed, "#logs-search")
    def _search_changed(self) -> None:
        self._again()

    @on(Input.Submitted, "#logs-search")
    def _search_done(self) -> None:
        self._log.focus()
