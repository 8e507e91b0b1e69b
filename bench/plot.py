"""Line charts on logarithmic axes as small SVG files, for the documentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 400, 260, 60, 34, 40, 90
COLOURS = ("#2a6fb0", "#c2571a", "#3a8f4d")
INK = "#777777"
"""Readable on light and on dark pages."""


@dataclass(frozen=True)
class Line:
    """One measured quantity."""

    label: str
    values: Sequence[float]


def chart(title: str, x_label: str, x_values: Sequence[float], panels: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """Panels side by side over the same x axis; all axes are logarithmic, all values positive."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img" font-family="sans-serif"'
        f' font-size="11" fill="{INK}">',
        f"<title>{escape(title)}</title>",
    ]
    for place, (name, lines) in enumerate(panels):
        parts.append(f'<g transform="translate({place * WIDTH},0)">{_panel(name, x_label, x_values, lines)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, x_label: str, x_values: Sequence[float], lines: Sequence[Line]) -> str:
    every = [value for line in lines for value in line.values]
    x_range = math.log10(min(x_values)), math.log10(max(x_values))
    y_range = float(math.floor(math.log10(min(every)))), float(math.ceil(math.log10(max(every))))

    def x_at(value: float) -> float:
        return LEFT + (math.log10(value) - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def y_at(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="18" font-weight="bold">{escape(name)}</text>']
    for power in range(int(y_range[0]), int(y_range[1]) + 1):
        y = y_at(10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".25"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for value in x_values:
        parts.append(f'<text x="{x_at(value):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{value:,.0f}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    for line, colour in zip(lines, COLOURS, strict=False):
        points = [(x_at(x), y_at(y)) for x, y in zip(x_values, line.values, strict=True)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<text x="{points[-1][0] + 8:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{escape(line.label)}</text>'
        )
    return "\n".join(parts)
