"""Models as text: columns, sizes, facts."""

from __future__ import annotations

from collections.abc import Sequence

from node.values.models import BenchRow, BenchView, ModelDetail


def as_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned text, the first one the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def bytes_short(count: int) -> str:
    """A number of bytes in binary units: ``4.6 GiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_short(count: int) -> str:
    """A count in thousands, millions or billions: ``7.2B``."""
    for divisor, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if count >= divisor:
            return f"{count / divisor:.1f}{unit}"
    return str(count)


def duration(seconds: float) -> str:
    """A stretch of time: ``45 s``, ``3:20 min``, ``2 h 5 min``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def detail_text(detail: ModelDetail) -> str:
    """Everything about one model, a fact a line."""
    view = detail.view
    facts = {
        "Model": detail.title,
        "Name here": view.name,
        "File": view.path + (f" and {view.parts - 1} more" if view.parts > 1 else ""),
        "Size": bytes_short(view.size_bytes),
        "Architecture": view.architecture,
        "Parameters": count_short(view.parameters),
        "Quantization": view.quantization,
        "Context": f"{view.context_length} tokens" if view.context_length else "",
        "Tokenizer": f"{detail.tokenizer}, {detail.vocabulary_size} tokens",
        "Template": "its own" if detail.has_template else "none: a plain one is used",
        "Licence": detail.licence or "not told",
        "From": detail.origin,
        "SHA-256": detail.sha256,
        "Fit": detail.fit.sentence if detail.fit else "",
    }
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name.ljust(width)}{value}" for name, value in facts.items() if value)


def bench_line(row: BenchRow) -> str:
    """One row of a measurement, under the heading of ``bench_text``."""
    return (
        f"{row.streams:>7}  {row.prompt_tokens_per_s:>12.1f}  {row.decode_tokens_per_s:>12.1f}  {row.ttft_ms:>8.0f} ms"
    )


def bench_text(measured: BenchView, before: BenchView | None) -> str:
    """A measurement as a table, and how it differs from the one before."""
    lines = ["STREAMS  PROMPT tok/s  ANSWER tok/s  FIRST TOKEN", *map(bench_line, measured.rows)]
    old = {row.streams: row.decode_tokens_per_s for row in before.rows} if before else {}
    first = measured.rows[0]
    if old.get(first.streams):
        change = first.decode_tokens_per_s / old[first.streams] - 1
        how = "faster" if change >= 0 else "slower"
        lines.append(f"Writing with {first.streams} at once is {abs(change):.0%} {how} than last time.")
    return "\n".join(lines)
