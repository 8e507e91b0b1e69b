"""A QR code in half blocks: two modules a character."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=8)
def qr_lines(data: str, *, border: int = 2) -> tuple[str, ...]:
    """The lines of a QR code for light text on a dark ground, or dark on light: scanners read both."""
    import segno

    matrix = [[bool(module) for module in row] for row in segno.make(data, error="l", micro=False).matrix]
    width = len(matrix[0]) + 2 * border
    margin = [[False] * width for _ in range(border)]
    rows = margin + [[False] * border + row + [False] * border for row in matrix] + margin
    if len(rows) % 2:
        rows.append([False] * width)
    glyphs = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return tuple(
        "".join(glyphs[pair] for pair in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )
