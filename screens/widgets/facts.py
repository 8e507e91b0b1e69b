"""Label-and-value lines, as several screens show them."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from node.values import ReceiptView
from screens.text import duration, one_line, short_address, short_hex, usd

Fact = tuple[str, ...]
"""Label, value, and optionally the value's style."""


def facts(rows: Iterable[Fact], label_width: int = 12) -> Content:
    """One line a fact: a muted label, then the value, with an optional style; empty values are left out."""
    lines = []
    for label, value, *style in rows:
        if value:
            shown = one_line(value) if len(value) < 400 else one_line(value, 400)
            lines.append(Content.assemble((label.ljust(label_width), "dim"), (shown, style[0] if style else "")))
    return Content("\n").join(lines)


def receipt_facts(receipt: ReceiptView) -> Content:
    """A provider's signed receipt."""
    took_s = max(0, receipt.finished_ms - receipt.started_ms) / 1000
    return facts(
        [
            ("channel", f"#{receipt.channel_id}, answer {receipt.sequence}"),
            ("provider", short_address(receipt.provider)),
            ("tokens", f"{receipt.input_tokens} in · {receipt.output_tokens} out"),
            ("paid so far", f"{usd(receipt.cumulative_nano)} in this channel"),
            ("took", f"{took_s:.1f} s" if took_s < 60 else duration(took_s)),
            ("model", short_hex(receipt.model_sha256)),
            ("prompt", short_hex(receipt.prompt_hash)),
            ("answer", short_hex(receipt.output_hash)),
            ("engine", receipt.engine_build),
            ("seed", str(receipt.seed)),
            ("signature", short_hex(receipt.signature)),
        ]
    )
