"""The red line under the header of every screen, for as long as a fraud or a freeze is on."""

from __future__ import annotations

from textual.content import Content

from node.values import Alarm
from screens.node_feed import NodeFeed
from screens.text import one_line
from screens.widgets.panel import Panel

MARKS = {"danger": "‼", "warning": "▲"}


def alarm_line(alarm: Alarm) -> Content:
    """What is wrong, by mark, words and colour."""
    mark = MARKS[alarm.severity]
    return Content.assemble((f" {mark} {one_line(alarm.text, 200)} {mark} ", "bold"))


class AlarmBar(Panel):
    """Follows the node; hidden while there is no alarm."""

    DEFAULT_CSS = """
    AlarmBar { height: 1; display: none; text-align: center; text-wrap: nowrap; text-overflow: ellipsis; }
    AlarmBar.-danger { display: block; background: #b00020; color: #ffffff; text-style: bold; }
    AlarmBar.-warning { display: block; background: $warning; color: $text; text-style: bold; }
    AlarmBar:ansi.-danger { background: ansi_red; color: ansi_bright_white; }
    AlarmBar:ansi.-warning { background: ansi_yellow; color: ansi_black; }
    """

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(id="alarm", markup=False)
        self.feed = feed

    def on_mount(self) -> None:
        """Show the alarm at once, then whenever the node changed."""
        self.feed.changed.subscribe(self, lambda _what: self.show())
        self.show()

    def show(self) -> None:
        """Draw the newest snapshot's alarm."""
        alarm = self.feed.snapshot.alarm
        self.set_class(alarm is not None and alarm.severity == "danger", "-danger")
        self.set_class(alarm is not None and alarm.severity == "warning", "-warning")
        self.update(alarm_line(alarm) if alarm is not None else "", layout=False)
