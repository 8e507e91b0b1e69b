"""Words and numbers as the screens write them: plain text from strangers, money, times, sizes; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from node.values import NANO_PER_USD, Prices, format_usd
from node.values.text import drawn, plain

MAX_CELL_CHARS = 200
DASH = "\u2013"
"""Stands where a value is not known."""
_SCAN_FACTOR = 4
"""How many characters are read for each one shown, since some are removed."""
_BARS = "▁▂▃▄▅▆▇█"
_BYTES_PER_STEP = 1024
_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3600
_SECONDS_PER_DAY = 86_400


def many_lines(text: str) -> str:
    """Text of several lines, safe to draw; see ``node.values.text.TextDrawing``."""
    return drawn(text)


def one_line(text: str, limit: int = MAX_CELL_CHARS) -> str:
    """Text as one line of at most ``limit`` characters, safe to show; runs of spaces become one."""
    line = " ".join(plain(text, limit * _SCAN_FACTOR).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def usd(amount_nano: int | None) -> str:
    """Dollars with as many digits as matter; a dash where unknown."""
    return DASH if amount_nano is None else format_usd(amount_nano)


def usd_short(amount_nano: int | None) -> str:
    """Dollars cut (never rounded up) to about four significant digits, for tight places."""
    if amount_nano is None:
        return DASH
    magnitude = abs(amount_nano)
    keep = 1
    while magnitude // keep >= 10_000 and keep < NANO_PER_USD // 100:
        keep *= 10
    cut = magnitude // keep * keep
    return format_usd(-cut if amount_nano < 0 else cut)


def price(prices: Prices) -> str:
    """Input and output price in dollars a million tokens."""
    return f"{usd(prices.input_nano_per_mtok)} in · {usd(prices.output_nano_per_mtok)} out / Mtok"


def short_hex(value: str, head: int = 6, tail: int = 4) -> str:
    """The two ends of a hash or an address."""
    value = one_line(value)
    return value if len(value) <= head + tail + 3 else f"{value[: head + 2]}…{value[-tail:]}"


def short_address(value: str) -> str:
    """An address as people compare it: ``0x12ab…9fe0``."""
    return short_hex(value, 4, 4)


def size(count_bytes: int | None) -> str:
    """Bytes in binary units."""
    if count_bytes is None:
        return DASH
    amount = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < _BYTES_PER_STEP or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= _BYTES_PER_STEP
    raise AssertionError


def count_short(count: int) -> str:
    """A count in thousands, millions or billions: ``7.2 B``."""
    for divisor, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if count >= divisor:
            return f"{count / divisor:.1f} {unit}"
    return str(count)


def duration(seconds: float) -> str:
    """A stretch of time in its two largest units: ``3:20``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, int(seconds))
    if whole < _SECONDS_PER_MINUTE:
        return f"{whole} s"
    if whole < _SECONDS_PER_HOUR:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < _SECONDS_PER_DAY:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(then_ms: int, now_ms: int) -> str:
    """How long ago something was."""
    elapsed_s = (now_ms - then_ms) / 1000
    return "just now" if elapsed_s < 1 else f"{duration(elapsed_s)} ago"


def countdown(at_s: int | None, now_ms: int) -> str:
    """How long until a moment on the chain; empty without one."""
    if at_s is None or at_s <= 0:
        return ""
    left_s = at_s - now_ms // 1000
    return "now" if left_s <= 0 else f"in {duration(left_s)}"


def milliseconds(value_ms: float) -> str:
    """A latency."""
    if value_ms <= 0:
        return DASH
    return f"{value_ms:.0f} ms" if value_ms < 1000 else f"{value_ms / 1000:.1f} s"


def speed(tokens_per_s: float) -> str:
    """Tokens per second, as a number."""
    if tokens_per_s <= 0:
        return DASH
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.1f}"


def percent(value: float | None) -> str:
    """A share of a hundred; a dash where unknown."""
    return DASH if value is None else f"{value:.0f} %"


def clock(at_ms: int) -> str:
    """The local time of day."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "--:--:--"


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest ``width`` values as bars, the tallest at the maximum; zero is a low bar, and no value a space."""
    if width <= 0:
        return ""
    newest = [max(0.0, value) for value in values[-width:]]
    highest = max(newest, default=0.0)
    top = len(_BARS) - 1
    bars = "".join(_BARS[round(value / highest * top)] if highest > 0 else _BARS[0] for value in newest)
    return bars.rjust(width)


def meter(share: float | None, width: int) -> str:
    """A bar of ``width`` cells, filled to ``share`` (0 to 1)."""
    if share is None:
        return "·" * width
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "░" * (width - filled)


def counted(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
