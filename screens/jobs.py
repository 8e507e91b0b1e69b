"""Jobs: queued, running and finished ones of both sides, each with its receipt."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from node.values import JobView
from screens.base import NodeScreen
from screens.dialogs import Reveal
from screens.jobs_table import STAGE_MARKS, job_columns, no_jobs_text
from screens.node_feed import NodeFeed
from screens.text import ago, clock, duration, one_line, speed, usd
from screens.widgets.facts import facts, receipt_facts
from screens.widgets.table import NodeTable


def job_key(job: JobView) -> str:
    """One row a job and side."""
    return f"{job.role}:{job.job_id}"


def job_content(job: JobView, now_ms: int) -> Content:
    """One job in full: what, for whom, money, times, failure, receipt."""
    mark, _ = STAGE_MARKS[job.stage]
    until_ms = job.finished_ms if job.finished_ms is not None else now_ms
    sold = job.role == "provider"
    parts = [
        facts(
            [
                ("stage", f"{mark} {job.stage.value}", "bold"),
                ("job", job.job_id),
                ("side", "sold by this node" if sold else "bought by this node"),
                ("with", job.peer),
                ("model", job.model),
                ("tokens", f"{job.input_tokens} in · {job.output_tokens} out · {speed(job.tokens_per_s)} tok/s"),
                ("earned" if sold else "paid", usd(job.amount_nano), "bold"),
                ("unpaid", f"{usd(job.exposure_nano)} of at most {usd(job.credit_window_nano)}"),
                ("channel", f"#{job.channel_id}" if job.channel_id is not None else "none yet"),
                ("started", f"{clock(job.started_ms)}, {ago(job.started_ms, now_ms)}"),
                ("took", duration((until_ms - job.started_ms) / 1000)),
            ]
        )
    ]
    if job.error_code or job.error:
        parts.append(
            Content.assemble(("✗ ", "$error"), (one_line(job.error_code, 40), "bold"), " ", one_line(job.error, 400))
        )
    if job.receipt is not None:
        parts += [Content.styled("Receipt, signed by the provider", "bold $primary"), receipt_facts(job.receipt)]
    else:
        parts.append(Content.styled("No receipt: one follows when the answer is complete.", "dim"))
    return Content("\n\n").join(parts)


class JobsTable(NodeTable[JobView]):
    """Enter shows a job in full."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Detail", id="jobs.detail")]


class JobsScreen(NodeScreen):
    """Every job this node knows of."""

    TITLE_TEXT = "Jobs"
    HELP_TEXT = (
        "Queued and running jobs first, then the last ones. 'sold' is what this node answered, 'bought' what it asked. "
        "'unpaid' is what was delivered and has no voucher yet; it never exceeds the credit window. Enter shows a job "
        "with its receipt."
    )

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self._columns = job_columns(feed.now_ms)

    def compose_body(self) -> ComposeResult:
        """The table, and beside it (when wide) the job under the cursor."""
        with Horizontal():
            with Vertical(id="jobs-box", classes="panel grow"):
                yield JobsTable(self._columns, job_key, id="jobs-table")
                yield Static(id="jobs-empty", classes="empty", markup=False)
            with VerticalScroll(id="job-side", classes="panel wide-only"):
                yield Static(id="job-detail", markup=False)

    def on_mount(self) -> None:
        """Titles."""
        self.query_one("#jobs-box").border_title = "Jobs"
        self.query_one("#job-side").border_title = "Job"
        self.query_one("#jobs-table").focus()

    @property
    def _table(self) -> NodeTable[JobView]:
        return self.query_one("#jobs-table", NodeTable)

    def show(self) -> None:
        """Draw the snapshot."""
        snapshot = self.feed.snapshot
        jobs = (*snapshot.active_jobs, *snapshot.recent_jobs)
        self._table.show_rows(jobs)
        self._table.set_class(not jobs, "hidden")
        nothing = self.query_one("#jobs-empty", Static)
        nothing.update(no_jobs_text(snapshot.phase))
        nothing.set_class(bool(jobs), "hidden")
        earned = sum(job.amount_nano for job in jobs if job.role == "provider")
        paid = sum(job.amount_nano for job in jobs if job.role == "buyer")
        self.query_one("#jobs-box").border_subtitle = Content(
            f"{len(snapshot.active_jobs)} running · {len(snapshot.recent_jobs)} done · "
            f"earned {usd(earned)} · paid {usd(paid)}"
        )
        self._show_detail()

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        job = self._table.selected
        detail = job_content(job, self.feed.now_ms()) if job else Content.styled("No job selected.", "dim")
        self.query_one("#job-detail", Static).update(detail)

    @on(DataTable.RowSelected)
    def _detail(self) -> None:
        """Show the job under the cursor in full."""
        job = self._table.selected
        if job is not None:
            self.app.push_screen(Reveal("Job", job_content(job, self.feed.now_ms())))
