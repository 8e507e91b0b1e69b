"""The columns of a table of jobs, shared by Dashboard and Jobs."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from node.values import JobStage, JobView, Phase
from screens.text import DASH, ago, one_line, short_address, speed, usd
from screens.widgets.table import Column

STAGE_MARKS: dict[JobStage, tuple[str, str]] = {
    JobStage.QUEUED: ("·", "dim"),
    JobStage.PREFILL: ("◐", "yellow"),
    JobStage.STREAMING: ("▶", "green"),
    JobStage.UNPAID: ("⏸", "yellow"),
    JobStage.DONE: ("✓", "green"),
    JobStage.FAILED: ("✗", "red"),
    JobStage.CANCELLED: ("■", "dim"),
}


def no_jobs_text(phase: Phase) -> str:
    """What stands where jobs would: F3 is named only while it goes online, since otherwise it goes offline."""
    if phase is Phase.OFF:
        return "No jobs yet. Go online with F3, or press 5 and ask a model something."
    return "No jobs yet. Buyers bring them; press 5 to ask a model something yourself."


def stage_text(job: JobView) -> Text:
    """The stage by shape, word and colour."""
    mark, style = STAGE_MARKS[job.stage]
    return Text.assemble((f"{mark} {job.stage.value}", style))


def peer_text(peer: str) -> str:
    """A peer: an address shortened, anything else as it is."""
    return short_address(peer) if peer.startswith("0x") else one_line(peer, 14)


def job_columns(now_ms: Callable[[], int]) -> tuple[Column[JobView], ...]:
    """Columns for a table of jobs; ``now_ms`` is what "ago" counts from."""

    def when(job: JobView) -> str:
        return ago(job.finished_ms, now_ms()) if job.finished_ms else "running"

    return (
        Column("stage", "stage", 11, stage_text),
        Column("role", "side", 6, lambda job: "sold" if job.role == "provider" else "bought", rank=4),
        Column("model", "model", 12, lambda job: one_line(job.model, 60), grow=True),
        Column("tokens", "in → out", 12, lambda job: f"{job.input_tokens} → {job.output_tokens}", rank=3, right=True),
        Column("speed", "tok/s", 6, lambda job: speed(job.tokens_per_s), rank=2, right=True),
        Column("amount", "pay", 12, lambda job: usd(job.amount_nano), right=True),
        Column(
            "exposure",
            "unpaid",
            11,
            lambda job: usd(job.exposure_nano) if job.exposure_nano else DASH,
            rank=5,
            right=True,
        ),
        Column("peer", "with", 12, lambda job: peer_text(job.peer), rank=7),
        Column("when", "when", 14, when, rank=6, right=True),
    )
