"""Models: what is on this machine and what fits; search, pull, measure, rent out, remove."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, Static
from textual.worker import Worker

from node.values import BenchRow, HubModelView, IdlewattError, ModelView, PullChosen, PullDone, PullProgress
from screens.base import NodeScreen
from screens.dialogs import Confirm, Field, Form, FormSpec, Picker, Reveal, Values
from screens.models.content import (
    EMPTY,
    MODEL_COLUMNS,
    SOURCES,
    bench_content,
    bench_text,
    detail_content,
    hub_choices,
    model_content,
    pull_text,
    quantization_choices,
)
from screens.node_feed import NodeFeed
from screens.text import one_line, size
from screens.widgets.table import NodeTable


class ModelTable(NodeTable[ModelView]):
    """Enter shows a model in full."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Inspect", id="models.inspect")]


class ModelsScreen(NodeScreen):
    """The models on this machine, and the Hugging Face hub."""

    TITLE_TEXT = "Models"
    LOADS_ON: ClassVar[frozenset[str]] = frozenset({"models", "phase"})
    HELP_TEXT = (
        "Models on this machine: the home's, and those that Hugging Face, Ollama and LM Studio keep; nothing is "
        "copied. 'fits with' is what the free memory holds now: the context of one request, and requests at once. ▶ is "
        "rented out, ◐ loaded. / searches the Hugging Face hub, p pulls by name; a pull that was stopped goes on where "
        "it was. b measures the speed, which the offer then carries. d deletes what is in the home or in the Hugging "
        "Face cache."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "rent_out", "Rent out", id="models.rent"),
        Binding("slash", "search", "Search", id="models.search"),
        Binding("p", "pull", "Pull", id="models.pull"),
        Binding("b", "bench", "Measure", id="models.bench"),
        Binding("f", "fit", "Fit", id="models.fit"),
        Binding("d", "remove", "Delete", id="models.remove"),
        Binding("r", "reload", "Refresh", show=False, id="models.reload"),
        Binding("escape", "stop", "Stop", show=False, id="models.stop"),
    ]

    class RentOut(Message):
        """The person wants to rent this model out."""

        def __init__(self, model: str) -> None:
            super().__init__()
            self.model = model

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self.models: tuple[ModelView, ...] = ()
        self._asked = False
        self._work: Worker[None] | None = None
        self._working = ""

    def compose_body(self) -> ComposeResult:
        """The table, the model under the cursor (when wide), and what is going on."""
        with Horizontal(id="models-row"):
            with Vertical(id="models-box", classes="panel grow"):
                yield ModelTable(MODEL_COLUMNS, lambda model: f"{model.source}:{model.name}", id="models-table")
                yield Static("", id="models-empty", classes="empty", markup=False)
            with VerticalScroll(id="model-side", classes="panel wide-only"):
                yield Static(id="model-detail", markup=False)
        yield Static("", id="model-work", classes="hidden", markup=False)

    def on_mount(self) -> None:
        """Titles."""
        self.query_one("#models-box").border_title = "Models"
        self.query_one("#model-side").border_title = "Model"
        self._table.focus()

    @property
    def _table(self) -> NodeTable[ModelView]:
        return self.query_one("#models-table", NodeTable)

    async def load(self) -> None:
        """Ask for the models."""
        try:
            self.models = await self.feed.api.library()
        finally:
            self._asked = True

    def show(self) -> None:
        """Draw the models."""
        self._table.show_rows(self.models)
        self._table.set_class(not self.models, "hidden")
        empty = self.query_one("#models-empty", Static)
        empty.update(EMPTY if self._asked else "Looking for models…")
        empty.set_class(bool(self.models), "hidden")
        total = sum(model.size_bytes for model in self.models)
        self.query_one("#models-box").border_subtitle = f"{len(self.models)} · {size(total)}" if self.models else ""
        self._show_detail()

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        model = self._table.selected
        detail = model_content(model) if model else Content.styled("No model selected.", "dim")
        self.query_one("#model-detail", Static).update(detail)

    def _say(self, text: str) -> None:
        """Show progress in the line at the bottom."""
        self._working = text
        line = self.query_one("#model-work", Static)
        line.update(text)
        line.set_class(not text, "hidden")

    def _selected(self) -> ModelView | None:
        """The model under the cursor, unless it can't be used."""
        model = self._table.selected
        if model is not None and model.problem:
            self.tell(model.problem, "warning")
            return None
        return model

    def _is_free(self) -> bool:
        """Whether no other work runs here; tells the person which one does."""
        if self._work is not None and not self._work.is_finished:
            self.tell("Something is under way here already: esc stops it.", "warning")
            return False
        return True

    # Looking

    @on(DataTable.RowSelected)
    def _inspect(self) -> None:
        model = self._selected()
        if model is not None:
            self.start(self._inspecting(model), group="inspect", exclusive=True)

    async def _inspecting(self, model: ModelView) -> None:
        detail = await self.feed.api.model_detail(model.name)
        note = "" if detail.view.removable else f"Not Idlewatt's to delete: {SOURCES.get(model.source, model.source)}."
        await self.app.push_screen_wait(
            Reveal(
                one_line(detail.title, 50), detail_content(detail, self.feed.now_ms()), note=note, copies=detail.sha256
            )
        )

    def action_fit(self) -> None:
        """Ask what would fit."""
        model = self._selected()
        if model is not None:
            self.start(self._fitting(model), group="inspect", exclusive=True)

    async def _fitting(self, model: ModelView) -> None:
        spec = FormSpec(
            title=f"Does {one_line(model.name, 40)} fit?",
            fields=(
                Field("context", "Tokens of context a request has", str(min(model.context_length or 4096, 4096))),
                Field("slots", "Requests at once", "4"),
            ),
            verb="Work it out",
            check=_check_fit,
        )
        values = await self.app.push_screen_wait(Form(spec))
        if values is None:
            return
        fit = await self.feed.api.model_fit(model.name, int(values["context"]), int(values["slots"]))
        rows = [
            ("answer", fit.sentence, "bold"),
            ("weights", size(fit.weights_bytes)),
            ("context", f"{size(fit.cache_bytes)} for {fit.cache_tokens} tokens in all"),
            ("work space", size(fit.work_bytes)),
            ("program", size(fit.process_bytes)),
            ("together", size(fit.needed_bytes)),
            ("free", f"{size(fit.available_bytes)} in {fit.device}, of which {size(fit.headroom_bytes)} stay so"),
        ]
        await self.app.push_screen_wait(Confirm(f"{one_line(model.name, 40)}", rows, "Close"))

    # The hub

    def action_search(self) -> None:
        """Search the hub."""
        if self._is_free():
            self._work = self.start(self._searching(), group="models")

    async def _searching(self) -> None:
        field = Field("text", "Part of a model's name", hint="qwen3 4b")
        spec = FormSpec(title="Search the Hugging Face hub", fields=(field,), verb="Search", check=_check_search)
        values = await self.app.push_screen_wait(Form(spec))
        if values is None:
            return
        try:
            self._say("Asking the hub…  esc stops")
            found = await self.feed.api.search_models(values["text"])
        finally:
            self._say("")
        repo = await self.app.push_screen_wait(Picker("On the hub", hub_choices(found), "Nothing by that name."))
        chosen = next((model for model in found if model.repo == repo), None)
        if chosen is not None:
            await self._choose_and_pull(chosen)

    async def _choose_and_pull(self, model: HubModelView) -> None:
        choices = quantization_choices(model)
        label: str | None = ""
        if choices:
            label = await self.app.push_screen_wait(Picker(one_line(model.repo, 50), choices, ""))
        if label is not None:
            await self._pulling(f"{model.repo}:{label}" if label else model.repo)

    def action_pull(self) -> None:
        """Pull by name."""
        if self._is_free():
            self._work = self.start(self._asking_what_to_pull(), group="models")

    async def _asking_what_to_pull(self) -> None:
        spec = FormSpec(
            title="Pull from the Hugging Face hub",
            fields=(Field("model", "Repository, and a quantization if you like", hint="OWNER/NAME:Q4_K_M"),),
            verb="Pull",
            note="It lands in the home's models folder. A pull that was stopped goes on where it was.",
            check=lambda values: "" if "/" in values["model"] else "Write it as OWNER/NAME.",
        )
        values = await self.app.push_screen_wait(Form(spec))
        if values is not None:
            await self._pulling(values["model"].strip())

    async def _pulling(self, spec: str) -> None:
        name = spec
        self._say(pull_text(name, None))
        try:
            async with self.feed.api.pull_model(spec) as events:
                async for event in events:
                    match event:
                        case PullChosen():
                            name = event.name
                            if event.notice:
                                self.tell(event.notice, "warning")
                        case PullProgress():
                            self._say(pull_text(name, event))
                        case PullDone():
                            self.tell(f"{event.model} is here, its SHA-256 checked. o rents it out.")
        finally:
            self._say("")
            self.reload()

    # Using

    def action_rent_out(self) -> None:
        """Go online with the model under the cursor."""
        model = self._selected()
        if model is not None:
            self.post_message(self.RentOut(model.name))

    def action_bench(self) -> None:
        """Measure the model under the cursor."""
        model = self._selected()
        if model is not None and self._is_free():
            self._work = self.start(self._measuring(model), group="models")

    async def _measuring(self, model: ModelView) -> None:
        rows: list[BenchRow] = []
        self._say(bench_text(model.name, rows))
        try:
            async with self.feed.api.bench_model(model.name) as events:
                async for event in events:
                    if isinstance(event, BenchRow):
                        rows.append(event)
                        self._say(bench_text(model.name, rows))
                    else:
                        measured = bench_content(event, self.feed.now_ms())
                        self.app.push_screen(Reveal(f"Speed of {one_line(model.name, 40)}", measured))
        finally:
            self._say("")
            self.reload()

    def action_remove(self) -> None:
        """Delete the model under the cursor, after asking."""
        model = self._table.selected
        if model is None:
            return
        if not model.removable:
            kept = SOURCES.get(model.source, model.source)
            self.tell(f"{one_line(model.name, 60)} is not ours to delete: it is in {kept}.", "warning")
        elif self._is_free():
            self._work = self.start(self._removing(model), group="models")

    async def _removing(self, model: ModelView) -> None:
        rows = [("model", model.name, "bold"), ("size", size(model.size_bytes)), ("file", model.path)]
        sure = await self.app.push_screen_wait(
            Confirm("Delete this model?", rows, "Delete", note="It can be pulled again, if the hub still has it.")
        )
        if sure:
            freed = await self.feed.api.remove_model(model.name)
            self.tell(f"Deleted; {size(freed)} are free again.")
            self.reload()

    def action_stop(self) -> None:
        """Stop the running work; a pull keeps what has arrived."""
        if self._work is not None and not self._work.is_finished and self._working:
            self._work.cancel()
            self.tell("Stopped. What a pull has brought is kept, and the next one goes on from there.")


def _check_fit(values: Values) -> str:
    for name, least, most in (("context", 64, 10_000_000), ("slots", 1, 64)):
        text = values[name].strip()
        if not text.isdecimal() or not least <= int(text) <= most:
            return f"The {name} must be a number from {least} to {most}."
    return ""


def _check_search(values: Values) -> str:
    if not values["text"].strip():
        raise IdlewattError("Give a few letters of a model's name.")
    return ""
