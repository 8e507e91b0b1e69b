"""The messages of a chat that are on screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from node.values import ChatMessage, SavedEnding
from screens.chat.code_blocks import code_blocks
from screens.chat.turn import ending_content
from screens.clipboard import copy_text
from screens.widgets.messages import Answer, Question

MAX_MOUNTED = 60
"""Messages further up than this leave the screen; they stay in the saved chat."""
WELCOME = (
    "Ask something. The answer comes from a model on somebody's machine and is paid by the token.\n"
    "Relays cannot read your prompts; the provider can.\n\n"
    "enter sends · ctrl+j new line · / chooses a model · esc, then 1 to 9, leaves for another screen"
)


class Transcript(VerticalScroll):
    """The messages; follows the newest until the reader scrolls up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_answer", "Copy answer", id="transcript.copy"),
        Binding("c", "copy_code", "Copy code", id="transcript.code"),
        Binding("j", "scroll_down", "Down", show=False, id="transcript.down"),
        Binding("k", "scroll_up", "Up", show=False, id="transcript.up"),
        Binding("g", "scroll_home", "Top", show=False, id="transcript.top"),
        Binding("G", "scroll_end", "Bottom", show=False, id="transcript.bottom"),
    ]

    def last_answer(self) -> str:
        """The newest answer's Markdown."""
        answers = [answer.text for answer in self.query(Answer) if answer.text]
        return answers[-1] if answers else ""

    def action_copy_answer(self) -> None:
        """Copy the last answer as it came: raw Markdown."""
        text = self.last_answer()
        if text:
            copy_text(self.app, text, "The answer")
        else:
            self.app.notify("There is no answer to copy yet.", severity="warning", markup=False)

    def action_copy_code(self) -> None:
        """Copy the last code block of the last answer."""
        blocks = code_blocks(self.last_answer())
        if blocks:
            copy_text(self.app, blocks[-1], "The code block")
        else:
            self.app.notify("The last answer holds no code block.", severity="warning", markup=False)

    async def add(self, question: str) -> Answer:
        """A new question at the bottom, and its answer, still empty."""
        self.query_one("#welcome").add_class("hidden")
        answer = Answer()
        await self.mount(Question(question), answer)
        for message in self._messages()[:-MAX_MOUNTED]:
            await message.remove()
        self.anchor()
        return answer

    async def drop_last(self) -> None:
        """Take the last question and its answer away."""
        for message in self._messages()[-2:]:
            await message.remove()

    async def show_messages(self, messages: Sequence[ChatMessage], endings: Sequence[SavedEnding] = ()) -> None:
        """Show another conversation.

        Args:
            messages: What was asked and answered.
            endings: Of the answers that are not whole, by their places among the messages.
        """
        await self.query("Question, Answer").remove()
        told = {saved.message: ending_content(saved.ending) for saved in endings}
        shown = list(enumerate(messages))[-MAX_MOUNTED:]
        await self.mount_all(
            Question(message.content) if message.role == "user" else Answer(message.content, told.get(place))
            for place, message in shown
            if message.role != "system"
        )
        self.query_one("#welcome").set_class(bool(shown), "hidden")
        self.anchor()

    def _messages(self) -> list[Question | Answer]:
        return [child for child in self.children if isinstance(child, Question | Answer)]
