"""Models as text: columns, sizes, facts."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final

from node.values.models import BenchRow, BenchView, ModelDetail

_GAP: Final = "  "
_LEAST_CELLS: Final = 12
_WIDE: Final = {"W": 2, "F": 2}


def as_columns(rows: Sequence[tuple[str, ...]], width: int | None = None) -> str:
    """Rows as aligned text, the first one the heading.

    Where they are wider than the terminal, the first column is cut in its middle, since names differ at both ends, and
    the last one goes on in further lines. What is no terminal gets all of it.

    Args:
        rows: Texts that are safe to show.
        width: The most cells of a line; None for the terminal's, or without a limit where the output is none.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1 << 30
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    room = width - sum(widths[1:-1]) - len(_GAP) * (len(widths) - 1)
    if widths[0] + widths[-1] > room:
        widths[0] = min(widths[0], max(_LEAST_CELLS, room // 2, room - widths[-1]))
        widths[-1] = max(_LEAST_CELLS, room - widths[0])
    lines = []
    for row in rows:
        first, *rest, last = (cut_middle(row[0], widths[0]), *row[1:])
        pieces = wrap(last, widths[-1]) or [""]
        before = _GAP.join(pad(cell, each) for cell, each in zip((first, *rest), widths, strict=False))
        lines += [(before + _GAP + pieces[0]).rstrip()]
        lines += [" " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)) + piece for piece in pieces[1:]]
    return "\n".join(lines)


def cells(text: str) -> int:
    """Cells that a text takes on a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else _WIDE.get(unicodedata.east_asian_width(char), 1) for char in text)


def pad(text: str, width: int) -> str:
    """A text with spaces behind it, so many cells wide."""
    return text + " " * max(0, width - cells(text))


def cut_middle(text: str, width: int) -> str:
    """A text of at most so many cells; what is too much is left out in its middle."""
    if cells(text) <= width:
        return text
    head, tail = (width - 1) - (width - 1) // 2, (width - 1) // 2
    begin, end = text, text
    while cells(begin) > head:
        begin = begin[:-1]
    while end and (cells(end) > tail or unicodedata.combining(end[0])):
        end = end[1:]
    return f"{begin}…{end}"


def wrap(text: str, width: int) -> list[str]:
    """A text as lines of at most so many cells, broken between words where that is possible."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while cells(word) > width:
            end = len(word)
            while cells(word[:end]) > width:
                end -= 1
            lines, line, word = [*lines, *([line] if line else []), word[:end]], "", word[end:]  # noqa: PLW2901
        if line and cells(line) + 1 + cells(word) > width:
            lines, line = [*lines, line], word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


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
        "Also called": ", ".join(view.also),
        "File": view.path + (f" and {view.parts - 1} more" if view.parts > 1 else ""),
        "Size": bytes_short(view.size_bytes),
        "Architecture": view.architecture,
        "Parameters": count_short(view.parameters),
        "Quantization": view.quantization,
        "Context": f"{view.context_length} tokens" if view.context_length else "",
        "Tokenizer": f"{detail.tokenizer}, {detail.vocabulary_size} tokens",
        "Template": "its own" if detail.has_template else "none: it continues texts, and answers no questions",
        "Note": " ".join(detail.notes),
        "Licence": detail.licence or "not told",
        "From": detail.origin,
        "SHA-256": detail.sha256,
        "Fit": detail.fit.sentence if detail.fit else view.problem,
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
