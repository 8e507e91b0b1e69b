"""A text that is laid out and drawn again only when it changed."""

from __future__ import annotations

from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Static


class Panel(Static):
    """A ``Static`` whose update with the same text and styles costs nothing."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """Show this text."""
        before = self.content
        if isinstance(content, Content) and isinstance(before, Content) and content.is_same(before):
            return
        super().update(content, layout=layout)
