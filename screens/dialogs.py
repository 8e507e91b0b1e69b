"""Dialogs: confirm, fill in, show a secret, choose, help. Every one closes with escape and changes nothing then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Select, Static, TextArea
from textual.widgets.option_list import Option

from node.values import IdlewattError
from screens.text import one_line
from screens.widgets.facts import Fact, facts

Result = TypeVar("Result")

IN_TYPING_ORDER: Final[list[BindingType]] = [
    Binding("tab", "app.focus_next", show=False, priority=True, id="form.next"),
    Binding("shift+tab", "app.focus_previous", show=False, priority=True, id="form.previous"),
]
"""For forms: the focus moves before the next key is handed out, however fast keys come (a password manager's do)."""


class Dialog(ModalScreen[Result]):
    """A box over a dimmed screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *IN_TYPING_ORDER,
        Binding("escape", "cancel", "Cancel", id="dialog.cancel"),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.box_title = title

    def compose(self) -> ComposeResult:
        """The box around the dialog's own widgets."""
        with VerticalScroll(id="box", can_focus=False) as box:
            box.border_title = Content(one_line(self.box_title, 60))
            yield from self.compose_box()

    def compose_box(self) -> ComposeResult:
        """What is in the box."""
        yield from ()

    def action_cancel(self) -> None:
        """Close; nothing happens."""
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """Asks before something that costs or can't be undone.

    Args:
        title: What is about to happen.
        rows: The facts to check: amount, destination, cost.
        verb: The button that does it.
        note: One more sentence.
        word: If given, this word must be typed first.
    """

    def __init__(self, title: str, rows: Sequence[Fact], verb: str, note: str = "", word: str = "") -> None:
        super().__init__(title)
        self.rows = rows
        self.verb = verb
        self.note = note
        self.word = word

    def compose_box(self) -> ComposeResult:
        """Facts, note, the word, buttons."""
        yield Static(facts(self.rows), markup=False, id="facts")
        if self.note:
            yield Static(self.note, markup=False, classes="note")
        if self.word:
            yield Static(f"Type {self.word} to go on:", markup=False, classes="label")
            yield Input(id="word")
        with Horizontal(classes="buttons"):
            yield Button(self.verb, id="yes", variant="primary", disabled=bool(self.word))
            yield Button("Cancel", id="no")

    def on_mount(self) -> None:
        """Enter says yes only where nothing must be typed."""
        self.query_one("#word" if self.word else "#yes").focus()

    @on(Input.Changed, "#word")
    def _word_changed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self.word

    @on(Input.Submitted, "#word")
    @on(Button.Pressed, "#yes")
    def _yes(self) -> None:
        if not self.query_one("#yes", Button).disabled:
            self.dismiss(True)

    @on(Button.Pressed, "#no")
    def _no(self) -> None:
        self.dismiss(False)

    def action_cancel(self) -> None:
        """No."""
        self.dismiss(False)


@dataclass(frozen=True)
class Field:
    """One thing to fill in; with ``options`` it is a choice, with ``lines`` a text of several lines."""

    key: str
    label: str
    value: str = ""
    hint: str = ""
    password: bool = False
    options: tuple[tuple[str, str], ...] = ()
    lines: bool = False
    only_when: tuple[str, str] | None = None
    """Shown only while another field has a value."""


Values = Mapping[str, str]


@dataclass(frozen=True)
class FormSpec:
    """A form: ``check`` returns what is wrong in one line, or nothing; it may raise ``IdlewattError`` instead."""

    title: str
    fields: tuple[Field, ...]
    verb: str
    note: str = ""
    rows: tuple[Fact, ...] = ()
    check: Callable[[Values], str] = field(default=lambda _values: "")


class Form(Dialog[Values | None]):
    """Fields and two buttons; what is wrong stands in one line below them."""

    def __init__(self, spec: FormSpec) -> None:
        super().__init__(spec.title)
        self.spec = spec

    def compose_box(self) -> ComposeResult:
        """Note, fields, error line, buttons."""
        if self.spec.note:
            yield Static(self.spec.note, markup=False, classes="note")
        if self.spec.rows:
            yield Static(facts(self.spec.rows), markup=False)
        for one in self.spec.fields:
            with Vertical(classes="field", id=f"field-{one.key}"):
                yield Static(one.label, markup=False, classes="label")
                yield from self._widget(one)
        yield Static("", markup=False, id="error")
        with Horizontal(classes="buttons"):
            yield Button(self.spec.verb, id="yes", variant="primary")
            yield Button("Cancel", id="no")

    @staticmethod
    def _widget(one: Field) -> ComposeResult:
        if one.options:
            yield Select(
                [(Content(label), value) for label, value in one.options],
                value=one.value or one.options[0][1],
                allow_blank=False,
                id=one.key,
                compact=True,
            )
        elif one.lines:
            yield TextArea(one.value, id=one.key, tab_behavior="focus")
        else:
            yield Input(one.value, placeholder=one.hint, password=one.password, id=one.key)

    def on_mount(self) -> None:
        """Start in the first field."""
        self._show_fields()
        self.query_one(f"#{self.spec.fields[0].key}").focus()

    def values(self) -> dict[str, str]:
        """What was filled in so far."""
        found: dict[str, str] = {}
        for one in self.spec.fields:
            widget = self.query_one(f"#{one.key}")
            if isinstance(widget, TextArea):
                found[one.key] = widget.text
            elif isinstance(widget, Select):
                found[one.key] = str(widget.value)
            elif isinstance(widget, Input):
                found[one.key] = widget.value
        return found

    @on(Select.Changed)
    def _show_fields(self) -> None:
        values = self.values()
        for one in self.spec.fields:
            if one.only_when is not None:
                other, wanted = one.only_when
                self.query_one(f"#field-{one.key}").set_class(values.get(other) != wanted, "hidden")

    @on(Input.Submitted)
    def _next_field(self, event: Input.Submitted) -> None:
        shown = [one.key for one in self.spec.fields if not self.query_one(f"#field-{one.key}").has_class("hidden")]
        position = shown.index(str(event.input.id))
        if position + 1 < len(shown):
            self.query_one(f"#{shown[position + 1]}").focus()
        else:
            self._yes()

    @on(Button.Pressed, "#yes")
    def _yes(self) -> None:
        values = self.values()
        try:
            wrong = self.spec.check(values)
        except IdlewattError as error:
            wrong = error.line()
        self.query_one("#error", Static).update(Content.assemble(("✗ ", "$error"), one_line(wrong)) if wrong else "")
        if not wrong:
            self.dismiss(values)

    @on(Button.Pressed, "#no")
    def _no(self) -> None:
        self.dismiss(None)


class Reveal(Dialog[None]):
    """Shows something once: a secret, an address with its QR code, an error in full."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "cancel", "Close", id="reveal.close"),
        Binding("y", "copy", "Copy", id="reveal.copy"),
    ]

    def __init__(self, title: str, body: Content | str, *, note: str = "", copies: str = "") -> None:
        super().__init__(title)
        self.body = body
        self.note = note
        self.copies = copies

    def compose_box(self) -> ComposeResult:
        """Note, the thing, what closes it."""
        if self.note:
            yield Static(self.note, markup=False, classes="note")
        yield Static(self.body, markup=False, id="shown")
        yield Static("esc close" + (" · y copy" if self.copies else ""), markup=False, classes="label")

    def action_copy(self) -> None:
        """Copy what is shown, where copying makes sense."""
        if self.copies:
            from screens.clipboard import copy_text

            copy_text(self.app, self.copies, "It")


@dataclass(frozen=True)
class Choice:
    """One line to choose, and what is searched in it."""

    key: str
    label: Content
    searched: str


class Picker(Dialog[str | None]):
    """Choose one of many, by typing a part of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "Next", show=False, id="picker.down", priority=True),
        Binding("up", "move(-1)", "Previous", show=False, id="picker.up", priority=True),
    ]

    def __init__(self, title: str, choices: Sequence[Choice], empty: str) -> None:
        super().__init__(title)
        self.choices = tuple(choices)
        self.empty = empty
        self._shown: tuple[Choice, ...] = ()

    def compose_box(self) -> ComposeResult:
        """A filter and the list."""
        yield Input(placeholder="type to filter", id="filter")
        yield OptionList(id="choices", markup=False)
        yield Static(self.empty, markup=False, id="nothing", classes="note")

    def on_mount(self) -> None:
        """Show everything."""
        self._fill("")
        self.query_one("#filter").focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, wanted: str) -> None:
        self._shown = tuple(choice for choice in self.choices if wanted.lower().strip() in choice.searched.lower())
        options = self.query_one("#choices", OptionList)
        options.clear_options()
        options.add_options([Option(choice.label) for choice in self._shown])
        if self._shown:
            options.highlighted = 0
        self.query_one("#nothing").set_class(bool(self._shown), "hidden")

    def action_move(self, step: int) -> None:
        """Move the highlight while typing goes on."""
        options = self.query_one("#choices", OptionList)
        if self._shown:
            options.highlighted = ((options.highlighted or 0) + step) % len(self._shown)

    @on(Input.Submitted, "#filter")
    def _chosen_by_enter(self) -> None:
        highlighted = self.query_one("#choices", OptionList).highlighted
        if highlighted is not None and highlighted < len(self._shown):
            self.dismiss(self._shown[highlighted].key)

    @on(OptionList.OptionSelected, "#choices")
    def _chosen_by_click(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].key)


class Help(Dialog[None]):
    """What this screen is for, and every key that does something here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark", "cancel", "Close", id="help.close"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="help.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="help.up"),
    ]

    def __init__(self, title: str, text: str, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__(title)
        self.text = text
        self.keys = tuple(keys)

    def compose_box(self) -> ComposeResult:
        """The text, then the keys."""
        yield Static(self.text, markup=False, classes="note")
        width = max((len(key) for key, _ in self.keys), default=0) + 2
        lines = [Content.assemble((key.ljust(width), "bold $primary"), what) for key, what in self.keys]
        yield Static(Content("\n").join(lines), markup=False)

    def action_scroll(self, lines: int) -> None:
        """Scroll the box."""
        self.query_one("#box").scroll_relative(y=lines, animate=False)
