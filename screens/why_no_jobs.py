"""Why no jobs: rejected requests by reason, as the Dashboard shows them."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from node.values import NodeSnapshot, Phase, RejectionView
from screens.text import DASH, duration, one_line

NORMAL = (
    "Nobody was turned away, and the offer was never gone. No jobs for a while is normal: buyers take the cheapest "
    "fast offer that has a free slot. Compare yours on the Market screen."
)


def is_worth_showing(snapshot: NodeSnapshot) -> bool:
    """Whether this node rents out, or did this week."""
    return bool(snapshot.rejections) or snapshot.phase is not Phase.OFF


def why_no_jobs_content(rejections: Sequence[RejectionView]) -> Content:
    """What kept jobs away today and this week, and what would change it; what is normal where nothing did."""
    if not rejections:
        return Content.styled(NORMAL, "dim")
    lines = []
    for reason in rejections:
        group = f"  {one_line(reason.group, 20)}: " if reason.group else "  "
        week = duration(reason.week_count) if reason.unit == "seconds" else str(reason.week_count)
        earlier = f" ({week} this week)" if reason.week_count > reason.count else ""
        lines.append(
            Content.assemble(
                (f"{_today(reason):>4}", "bold $warning" if reason.count else "dim"),
                (group, "dim"),
                one_line(reason.title or reason.reason),
                (earlier, "dim"),
            )
        )
        if reason.fix:
            lines.append(Content.assemble(("      → ", "$primary"), one_line(reason.fix)))
    return Content("\n").join(lines)


def _today(reason: RejectionView) -> str:
    if not reason.count:
        return DASH
    return duration(reason.count) if reason.unit == "seconds" else f"{reason.count} x"
