"""A text that is laid out and drawn again only when it changed: the node talks every second, mostly to say the same."""

from __future__ import annotations

from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Static


class Panel(Static):
    """A ``Static`` whose update with the same text and styles costs nothing."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """Say this from now on."""
        before = self.content
        if isinstance(content, Content) and isinstance(before, Content) and content.is_same(before):
            return
        super().update(content, layout=layout)
