"""The Chat screen: one conversation, the running answer, its price and its receipt."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Markdown, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from node.values import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatMessage,
    ChatSession,
    ChatTurn,
    IdlewattError,
    OfferView,
    ReceiptView,
    Sampling,
    SavedEnding,
)
from screens.base import NodeScreen
from screens.chat.choices import chat_title, offer_choices, session_choices
from screens.chat.transcript import WELCOME, Transcript
from screens.chat.turn import TurnProgress, answered_messages, done_content, failed_content, stopped_content
from screens.dialogs import Confirm, Picker, Reveal
from screens.node_feed import NodeFeed
from screens.text import one_line, speed, usd
from screens.widgets.facts import receipt_facts
from screens.widgets.messages import Answer
from screens.widgets.prompt import Prompt

SAMPLING = Sampling(temperature=0.2, min_p=0.1)
"""Close to a model's best guess: a small one does not gamble with digits, and a large one still does not loop."""
_WEB_SCHEMES = ("http://", "https://")


class ChatScreen(NodeScreen):
    """One conversation at a time; others wait in the sidebar."""

    TITLE_TEXT = "Chat"
    HELP_TEXT = (
        "Relays cannot read your prompts; the provider can. Esc stops a running answer: what was delivered is paid, "
        "nothing else. When nothing runs, esc leaves the prompt: then y copies the last answer, c its last code block, "
        "j/k scroll, and 1 to 9 change the screen. Every complete answer ends in a receipt that the provider signed: "
        "ctrl+o."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop/leave", show=False, id="chat.stop"),
        Binding("ctrl+n", "new", "New", id="chat.new"),
        Binding("ctrl+r", "regenerate", "Again", id="chat.regenerate"),
        Binding("alt+up", "edit_previous", "Edit last", show=False, id="chat.edit"),
        Binding("ctrl+o", "receipt", "Receipt", id="chat.receipt"),
        Binding("ctrl+b", "sessions", "Chats", id="chat.sessions"),
        Binding("f4", "model", "Model", id="chat.model", key_display="F4"),
        Binding("ctrl+x", "delete", "Delete chat", show=False, id="chat.delete"),
        Binding("i", "write", "Write", show=False, id="chat.write"),
        Binding("r", "nothing", show=False, id="chat.unused"),
    ]

    def __init__(self, feed: NodeFeed, new_id: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        super().__init__(feed)
        self._new_id = new_id
        self.session_id = new_id()
        self.created_ms = feed.now_ms()
        self.messages: list[ChatMessage] = []
        self.endings: list[SavedEnding] = []
        """Of the answers that are not whole."""
        self.last_question = ""
        self._last_counted = False
        self.turn: TurnProgress | None = None
        self.receipt: ReceiptView | None = None
        self.spent_nano = 0
        self.deposit_left_nano: int | None = None
        self.speed_seen = 0.0
        self.model_seen = ""
        self.editing = False
        self.sessions: tuple[ChatSession, ...] = ()
        self._worker: Worker[None] | None = None

    def compose_body(self) -> ComposeResult:
        """Sessions, conversation, receipt."""
        with Horizontal():
            yield OptionList(id="sessions", classes="panel", markup=False)
            with Vertical(id="conversation"):
                with Transcript(id="transcript", can_focus=True):
                    yield Static(WELCOME, id="welcome", classes="empty", markup=False)
                yield Static("", id="chat-line", markup=False)
                yield Prompt()
            with VerticalScroll(id="receipt-side", classes="panel", can_focus=False):
                yield Static(id="receipt-facts", markup=False)

    def on_mount(self) -> None:
        """Titles, focus, and following."""
        self.query_one("#sessions").border_title = "Chats"
        self.query_one("#receipt-side").border_title = "Receipt"
        self._transcript.anchor()
        self._prompt.focus()

    def on_screen_suspend(self) -> None:
        """Who comes back from another screen can write at once; a dialog leaves the focus where it was."""
        if self.app.current_mode != "chat":
            self._prompt.focus()

    @property
    def _transcript(self) -> Transcript:
        return self.query_one("#transcript", Transcript)

    @property
    def _prompt(self) -> Prompt:
        return self.query_one("#prompt", Prompt)

    @property
    def running(self) -> bool:
        """Whether an answer is running."""
        return self.turn is not None

    async def load(self) -> None:
        """Read the saved chats, and how much deposit is left."""
        self.sessions = await self.feed.api.chat_sessions()
        options = self.query_one("#sessions", OptionList)
        options.clear_options()
        options.add_options([Option(Content(one_line(session.title, 60) or "untitled")) for session in self.sessions])
        for answer in self.query(Answer):
            await answer.flush()

    def show(self) -> None:
        """Draw the line and the receipt."""
        self.query_one("#chat-line", Static).update(self._line())
        receipt = (
            receipt_facts(self.receipt)
            if self.receipt
            else Content.styled("A complete answer ends in a signed receipt.", "dim")
        )
        self.query_one("#receipt-facts", Static).update(receipt)
        self.keep_ticking(self.running and self.looked_at)

    def _line(self) -> Content:
        if self.turn is not None:
            return self.turn.running_content(self.feed.now_ms())
        if self.editing:
            return Content.styled(
                "✎ editing the last question · enter asks it anew · esc keeps it as it was", "$warning"
            )
        model = one_line(self.feed.chat_model or self.model_seen, 30) or "best offer"
        rate = f"{speed(self.speed_seen)} tok/s · " if self.speed_seen else ""
        left = f" · deposit left {usd(self.deposit_left_nano)}" if self.deposit_left_nano is not None else ""
        return Content.assemble((model, "bold"), (f" · {rate}spent {usd(self.spent_nano)}{left}", "dim"))

    # Asking

    @on(Prompt.Sent)
    async def _sent(self, event: Prompt.Sent) -> None:
        if self.running:
            self.tell("An answer is on its way; esc stops it.", "warning")
            return
        self._prompt.text = ""
        if self.editing:
            self.editing = False
            await self._drop_last()
        await self._ask(event.text)

    @on(Prompt.TooLong)
    def _too_long(self, event: Prompt.TooLong) -> None:
        self.tell(
            f"This text has {event.chars:,} characters, and a question takes at most {event.max_chars:,}. "
            "It was not sent; shorten it.",
            "warning",
        )

    async def _ask(self, question: str) -> None:
        self.last_question, self._last_counted = question, False
        answer = await self._transcript.add(question)
        self.turn = TurnProgress(started_ms=self.feed.now_ms())
        self.show()
        self._worker = self.start(self._run_turn(question, answer, self.turn), group="chat")

    async def _run_turn(self, question: str, answer: Answer, turn: TurnProgress) -> None:
        request = ChatTurn(
            messages=(*answered_messages(self.messages), ChatMessage("user", question)),
            model=self.feed.chat_model,
            offer_id=self.feed.chat_offer_id,
            sampling=SAMPLING,
        )
        outcome = Content("The node ended the answer without saying why.")
        try:
            async with self.feed.api.chat(request) as events:
                async for event in events:
                    outcome = await self._take(event, answer, turn) or outcome
        except asyncio.CancelledError:
            if self.is_attached and self.app.is_running:
                turn.reason = "cancelled"
                await self._finish(question, answer, turn, stopped_content(turn))
            raise
        except IdlewattError as error:
            outcome = failed_content(
                ChatFailed(code=error.wire_code, message=error.message, fix=error.fix, cost_nano=turn.spent_nano)
            )
        except Exception:
            await self._finish(
                question, answer, turn, Content.styled("✗ Something failed inside; the log (9) has it.", "$error")
            )
            raise
        await self._finish(question, answer, turn, outcome)

    async def _take(self, event: object, answer: Answer, turn: TurnProgress) -> Content | None:
        now_ms = self.feed.now_ms()
        first = turn.first_token_ms is None
        turn.take(event, now_ms)  # type: ignore[arg-type] # the stream's item type is ChatEvent
        if isinstance(event, ChatDone):
            self.speed_seen, self.deposit_left_nano = event.tokens_per_s, event.deposit_left_nano
            return done_content(event, turn.ending(answer.text))
        if isinstance(event, ChatFailed):
            return failed_content(event)
        if isinstance(event, ChatDelta) and event.text:
            await (answer.think if event.thinking else answer.feed)(event.text)
        if first and self.looked_at:
            self.show()
        return None

    async def _finish(self, question: str, answer: Answer, turn: TurnProgress, outcome: Content) -> None:
        self.turn, self._worker = None, None
        self.spent_nano += turn.spent_nano
        self.model_seen = turn.model or self.model_seen
        self.receipt = turn.receipt or self._receipt_of(turn.job_id) or self.receipt
        await answer.finish(outcome)
        ending = turn.ending(answer.text)
        if answer.text.strip() or (turn.reason == "length" and turn.output_tokens):
            self._last_counted = True
            self.messages += [ChatMessage("user", question), ChatMessage("assistant", answer.text)]
            if ending.words:
                self.endings.append(SavedEnding(len(self.messages) - 1, ending))
        self.show()
        if self._last_counted:
            self.start(self._save(), group="chat-save")

    def _receipt_of(self, job_id: str) -> ReceiptView | None:
        jobs = self.feed.api.snapshot().recent_jobs if job_id else ()
        return next((job.receipt for job in jobs if job.job_id == job_id and job.role == "buyer"), None)

    async def _save(self) -> None:
        session = ChatSession(
            session_id=self.session_id,
            title=chat_title(self.messages[0].content),
            model=self.model_seen,
            created_ms=self.created_ms,
            messages=tuple(self.messages),
            endings=tuple(self.endings),
        )
        await self.feed.api.save_chat(session)
        self.reload()

    async def _drop_last(self) -> None:
        """Take the last question and its answer out of conversation and screen."""
        if self._last_counted:
            del self.messages[-2:]
            self.endings = [saved for saved in self.endings if saved.message < len(self.messages)]
        self._last_counted = False
        await self._transcript.drop_last()

    # Actions

    def action_nothing(self) -> None:
        """There is nothing to refresh in a chat."""

    def action_stop(self) -> None:
        """Stop the answer; else stop editing; else leave the prompt."""
        if self.turn is not None and self._worker is not None:
            self.turn.stopping = True
            self._worker.cancel()
        elif self.editing:
            self.editing = False
            self._prompt.text = ""
        elif self._prompt.has_focus:
            self._transcript.focus()
        else:
            self._prompt.focus()
        self.show()

    def action_write(self) -> None:
        """Back to the prompt."""
        self._prompt.focus()

    async def action_new(self) -> None:
        """A new, empty conversation."""
        await self._open(None)

    async def _open(self, session: ChatSession | None) -> None:
        if self.running:
            self.tell("An answer is on its way; esc stops it.", "warning")
            return
        self.session_id = session.session_id if session else self._new_id()
        self.created_ms = session.created_ms if session else self.feed.now_ms()
        self.messages = list(session.messages) if session else []
        self.endings = list(session.endings) if session else []
        self.model_seen = session.model if session else ""
        self.last_question = next(
            (message.content for message in reversed(self.messages) if message.role == "user"), ""
        )
        self._last_counted = bool(self.messages)
        self.receipt, self.spent_nano, self.editing = None, 0, False
        await self._transcript.show_messages(self.messages, self.endings)
        self._prompt.focus()
        self.show()

    async def action_regenerate(self) -> None:
        """Ask the last question again."""
        if self.running or not self.last_question:
            self.tell(
                "There is nothing to ask again." if not self.running else "An answer is on its way; esc stops it.",
                "warning",
            )
            return
        question = self.last_question
        await self._drop_last()
        await self._ask(question)

    def action_edit_previous(self) -> None:
        """Bring the last question back into the prompt; sending it replaces the old one."""
        if self.running or not self.last_question:
            return
        self.editing = True
        self._prompt.replace_all(self.last_question)
        self._prompt.focus()
        self.show()

    def action_receipt(self) -> None:
        """Show or hide the drawer when wide, else the receipt in a dialog."""
        if self.has_class("-wide"):
            self.toggle_class("-no-receipt")
        elif self.receipt is not None:
            self.app.push_screen(Reveal("Receipt, signed by the provider", receipt_facts(self.receipt)))
        else:
            self.tell("No receipt yet: a complete answer ends in one.")

    def action_sessions(self) -> None:
        """Show or hide the sidebar when wide, else choose a chat in a dialog."""
        if self.has_class("-wide"):
            self.toggle_class("-no-sessions")
        else:
            self.start(self._pick_session(), group="dialog")

    async def _pick_session(self) -> None:
        await self.load()
        chosen = await self.app.push_screen_wait(
            Picker("Chats", session_choices(self.sessions), "No saved chats yet: an answered question saves one.")
        )
        session = next((session for session in self.sessions if session.session_id == chosen), None)
        if session is not None:
            await self._open(session)

    @on(OptionList.OptionSelected, "#sessions")
    async def _session_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_index < len(self.sessions):
            await self._open(self.sessions[event.option_index])

    def action_delete(self) -> None:
        """Forget this chat, after asking."""

        async def flow() -> None:
            title = chat_title(self.messages[0].content) if self.messages else ""
            dialog = Confirm("Delete this chat?", [("chat", title)], "Delete", "It can't be brought back.")
            if title and await self.app.push_screen_wait(dialog) is True:
                await self.feed.api.delete_chat(self.session_id)
                await self._open(None)
                self.reload()

        if not self.running:
            self.start(flow(), group="dialog")

    @on(Prompt.ModelWanted)
    def action_model(self) -> None:
        """Choose whose model answers."""
        self.start(self._pick_model(), group="dialog")

    async def _pick_model(self) -> None:
        offers = await self.feed.api.market()
        chosen = await self.app.push_screen_wait(Picker("Who answers", offer_choices(offers), "No offer matches."))
        offer = next((offer for offer in offers if offer.offer_id == chosen), None)
        if chosen is not None:
            self.use_offer(offer)

    def use_offer(self, offer: OfferView | None) -> None:
        """Ask this offer from now on; ``None`` lets the node choose."""
        self.feed.chat_offer_id = offer.offer_id if offer else ""
        self.feed.chat_model = offer.model if offer else ""
        self.model_seen = ""
        self.show()

    @on(Markdown.LinkClicked)
    def _link_clicked(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        href = event.href

        async def flow() -> None:
            if not href.startswith(_WEB_SCHEMES):
                self.tell("The answer links to something that is no web page; it is not opened.", "warning")
            elif await self.app.push_screen_wait(
                Confirm(
                    "Open this link?",
                    [("link", href, "bold")],
                    "Open",
                    "The model wrote it. The page will see your address.",
                )
            ):
                self.app.open_url(href)

        self.start(flow(), group="dialog")
