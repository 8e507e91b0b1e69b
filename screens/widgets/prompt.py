"""The prompt: enter sends, ctrl+j or shift+enter starts a new line, ``/`` in an empty one chooses a model."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

MAX_PROMPT_CHARS = 200_000


class Prompt(TextArea):
    """A text area that grows to ten lines."""

    DEFAULT_CSS = """
    Prompt { height: auto; min-height: 3; max-height: 12; padding: 0 1; }
    Prompt { border: round $panel-lighten-2; background: transparent; }
    Prompt:focus { border: round $primary; }
    Prompt:ansi { border: round ansi_bright_black; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", id="prompt.newline", key_display="^j"),
    ]

    class Sent(Message):
        """The person sent this text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class ModelWanted(Message):
        """``/`` was typed into an empty prompt."""

    class TooLong(Message):
        """The text is longer than a question may be; it was not sent, and is still in the prompt."""

        def __init__(self, chars: int, max_chars: int) -> None:
            super().__init__()
            self.chars = chars
            self.max_chars = max_chars

    def __init__(self, max_chars: int = MAX_PROMPT_CHARS) -> None:
        self._max_chars = max_chars
        super().__init__(
            id="prompt", soft_wrap=True, show_line_numbers=False, tab_behavior="focus", highlight_cursor_line=False,
            placeholder="Ask something; / chooses a model",
        )  # fmt: skip

    def action_send(self) -> None:
        """Send, unless there is nothing to send, or too much: a part of a question would be another question."""
        text = self.text.strip()
        if len(text) > self._max_chars:
            self.post_message(self.TooLong(len(text), self._max_chars))
        elif text:
            self.post_message(self.Sent(text))

    def action_new_line(self) -> None:
        """Break the line."""
        start, end = self.selection
        self._replace_via_keyboard("\n", start, end)

    async def _on_key(self, event: events.Key) -> None:
        # Keys with a meaning of their own are left to the bindings, which come after this in the same order as the
        # text:
        # bindings with priority would overtake what was typed just before them.
        if event.key == "enter" or event.key.startswith("alt+"):
            event.prevent_default()
            return
        if event.character == "/" and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.ModelWanted())
            return
        await super()._on_key(event)

    def replace_all(self, text: str) -> None:
        """Put this text in, the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)
