"""The header line of every main screen."""

from __future__ import annotations

from textual import events

from screens.node_feed import NodeFeed
from screens.status import status_line
from screens.widgets.panel import Panel


class StatusBar(Panel):
    """Shows :func:`screens.status.status_line` and follows the node."""

    DEFAULT_CSS = """
    StatusBar { dock: top; height: 1; background: $panel; color: $foreground; }
    StatusBar { text-wrap: nowrap; text-overflow: ellipsis; }
    StatusBar:ansi { background: ansi_default; text-style: none; }
    """

    def __init__(self, feed: NodeFeed, screen_title: str) -> None:
        super().__init__(id="status", markup=False)
        self.feed = feed
        self.screen_title = screen_title

    def on_mount(self) -> None:
        """Show the line at once, then whenever the node changed."""
        self.feed.changed.subscribe(self, lambda _what: self.show())
        self.show()

    def on_resize(self, _event: events.Resize) -> None:
        """Choose again what fits."""
        self.show()

    def show(self) -> None:
        """Draw the newest snapshot."""
        if self.screen in self.app.screen_stack:
            width = self.size.width or self.app.size.width
            self.update(status_line(self.feed.snapshot, self.screen_title, width), layout=False)  # ever one line
