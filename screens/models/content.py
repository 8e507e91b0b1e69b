"""The texts of the Models screen: columns, facts, progress; pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.content import Content

from node.values import BenchRow, BenchView, HubModelView, ModelDetail, ModelView, PullProgress
from screens.dialogs import Choice
from screens.text import DASH, ago, count_short, duration, meter, milliseconds, one_line, size, speed
from screens.widgets.facts import facts
from screens.widgets.table import Column

SOURCES = {
    "built-in": "ships with Idlewatt",
    "home": "the home's models folder",
    "huggingface": "the Hugging Face cache",
    "ollama": "Ollama",
    "lmstudio": "LM Studio",
    "folder": "a folder of yours",
}
EMPTY = "No model on this machine yet. / searches the Hugging Face hub, p pulls OWNER/NAME."
METER_CELLS = 16
LINE_CELLS = 66


def mark(model: ModelView) -> tuple[str, str, str]:
    """A model's state by shape, colour and word."""
    if model.problem:
        return "✗", "red", "can't be used"
    if model.offered:
        return "▶", "green", "rented out now"
    if model.in_use:
        return "◐", "yellow", "loaded now"
    return ("✓", "green", "fits") if model.fits else ("!", "yellow", "doesn't fit now")


def _name(model: ModelView) -> Text:
    shape, style, _ = mark(model)
    return Text.assemble((f"{shape} ", style), (one_line(model.name, 120), "bold" if model.in_use else ""))


def fit_short(fit: str) -> str:
    """What fits, without the words that the column's heading says."""
    said = fit.removeprefix("fits with ").removeprefix("doesn't fit: ").partition(" are free")[0]
    _, _, would = said.partition(": it would with ")
    said = f"only {would}" if would else said
    return said.replace(" context and ", ", ").replace(" context", "").replace(" and 1 slot", ", 1 slot")


def _fit(model: ModelView) -> Text:
    said = one_line(model.problem or fit_short(model.fit), 120)
    return Text(said or DASH, style="red" if model.problem else "" if model.fits else "yellow")


MODEL_COLUMNS: tuple[Column[ModelView], ...] = (
    Column("name", "model", 18, _name, grow=True),
    Column("quant", "quant", 7, lambda model: one_line(model.quantization, 10) or DASH, rank=2),
    Column("size", "size", 9, lambda model: size(model.size_bytes), rank=1, right=True),
    Column("source", "from", 11, lambda model: one_line(model.source, 11), rank=3),
    Column("context", "context", 7, lambda model: str(model.context_length or DASH), rank=5, right=True),
    Column("speed", "tok/s", 6, lambda model: speed(model.tokens_per_s), rank=4, right=True),
    Column("fit", "fits with", 18, _fit, grow=True),
)


def model_content(model: ModelView) -> Content:
    """The facts of one model that its row has."""
    shape, _, word = mark(model)
    return facts(
        [
            ("model", model.name, "bold"),
            ("state", f"{shape} {word}"),
            ("problem", model.problem),
            ("fit", model.fit),
            ("kind", _kind(model)),
            ("context", f"{model.context_length} tokens" if model.context_length else ""),
            ("size", size(model.size_bytes) + (f" in {model.parts} parts" if model.parts > 1 else "")),
            ("speed", f"{speed(model.tokens_per_s)} tok/s, one stream" if model.tokens_per_s else "b measures it"),
            ("from", SOURCES.get(model.source, model.source)),
            ("file", model.path),
            ("also", ", ".join(model.also)),
        ]
    )


def _kind(model: ModelView) -> str:
    parts = [model.architecture, model.quantization]
    if model.parameters:
        parts.append(f"{count_short(model.parameters)} parameters")
    return " · ".join(part for part in parts if part)


def detail_content(detail: ModelDetail, now_ms: int) -> Content:
    """One model in full, with what was measured."""
    fit = detail.fit
    took = f"{size(fit.needed_bytes)} of {size(fit.available_bytes)} free in {fit.device}" if fit else ""
    rows = facts(
        [
            ("title", detail.title, "bold"),
            ("kind", _kind(detail.view)),
            ("context", f"{detail.view.context_length} tokens" if detail.view.context_length else ""),
            ("fit", fit.sentence if fit else detail.view.problem),
            ("memory", took),
            ("layers", str(detail.layers)),
            ("tokenizer", f"{detail.tokenizer}, {detail.vocabulary_size} tokens"),
            ("template", " ".join(detail.notes) or ("its own" if detail.has_template else "none: it continues texts")),
            ("licence", detail.licence or "not told"),
            ("from", detail.origin or SOURCES.get(detail.view.source, "")),
        ]
    )
    # These are wider than a narrow dialog's second column.
    digest = Content.assemble(("SHA-256, y copies it\n", "dim"), one_line(detail.sha256, LINE_CELLS))
    path = one_line(detail.view.path, 4 * LINE_CELLS)
    lines = "\n".join(path[at : at + LINE_CELLS] for at in range(0, len(path), LINE_CELLS))
    measured = [bench_content(entry, now_ms) for entry in detail.history[:3]]
    return Content("\n\n").join([rows, *measured, digest, Content.assemble(("file\n", "dim"), lines)])


def bench_content(entry: BenchView, now_ms: int) -> Content:
    """One measurement as a small table."""
    head = Content.styled(f"Measured {ago(entry.at_ms, now_ms)} on {one_line(entry.backend, 20)}", "bold $primary")
    lines = [Content.styled("at once   reads tok/s   writes tok/s   first token", "dim")]
    lines += [
        Content(
            f"{row.streams:>7}   {speed(row.prompt_tokens_per_s):>11}   {speed(row.decode_tokens_per_s):>12}   "
            f"{milliseconds(row.ttft_ms):>11}"
        )
        for row in entry.rows
    ]
    return Content("\n").join([head, *lines])


def pull_text(name: str, progress: PullProgress | None) -> str:
    """A pull's progress on one line."""
    if progress is None:
        return f"Pulling {one_line(name, 40)}: asking the hub…  esc stops"
    share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
    parts = [f"{meter(share, METER_CELLS)} {share:.0%}"]
    if progress.checking:
        parts.append("checking what is here")
    elif progress.bytes_per_s > 0:
        parts.append(f"{size(int(progress.bytes_per_s))}/s")
        if progress.eta_s is not None:
            parts.append(f"{duration(progress.eta_s)} left")
    return f"{one_line(name, 30)} {'  '.join(parts)}  esc stops"


def bench_text(name: str, rows: Sequence[BenchRow]) -> str:
    """A measurement's progress on one line."""
    done = " · ".join(f"{row.streams} at once {speed(row.decode_tokens_per_s)}" for row in rows)
    return f"Measuring {one_line(name, 30)}: {done + ' tok/s' if done else 'loading…'}  esc stops"


def hub_choices(found: Sequence[HubModelView]) -> list[Choice]:
    """Repositories to choose from."""
    choices = []
    for model in found:
        facts_of = [f"{count_short(model.downloads)} downloads"]
        if model.parameters:
            facts_of.append(f"{count_short(model.parameters)} parameters")
        if model.size_bytes:
            facts_of.append(f"{one_line(model.quantization, 12)} {size(model.size_bytes)}".strip())
        if model.is_gated:
            facts_of.append("gated")
        label = Content.assemble((one_line(model.repo, 60), "bold"), "  ", (" · ".join(facts_of), "dim"))
        choices.append(Choice(model.repo, label, model.repo))
    return choices


def quantization_choices(model: HubModelView) -> list[Choice]:
    """Its quantizations, the one that a pull would take first."""
    ordered = dict.fromkeys([model.quantization, *model.quantizations])
    return [
        Choice(label, Content.assemble((one_line(label, 16), "bold"), ("  suggested" if at == 0 else "", "dim")), label)
        for at, label in enumerate(label for label in ordered if label)
    ]
