"""The newest log lines in memory, plain text, for the Logs screen and for subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from node.values import LogLine
from node.values.text import plain

MAX_LINES: Final = 2_000
MAX_CHARS: Final = 500
SOURCES: Final = ("node", "wallet", "chain", "app")
"""The loggers whose records are kept, and all loggers below them."""

Level = Literal["debug", "info", "warning", "error", "critical"]


class LogRing(logging.Handler):
    """Keeps the newest lines and tells ``on_line`` about each, on the loop's own thread."""

    def __init__(self, on_line: Callable[[LogLine], None]) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; a record that can't be formatted is kept as its bare text."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        line = LogLine(
            at_ms=int(record.created * 1000),
            level=_level(record.levelno),
            source=record.name,
            text=plain(text, MAX_CHARS),
        )
        self._lines.append(line)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_line, line)

    def newest(self, limit: int) -> tuple[LogLine, ...]:
        """The newest lines, oldest first."""
        lines = list(self._lines)
        return tuple(lines[-limit:]) if limit > 0 else ()

    @contextmanager
    def attached(self) -> Iterator[LogRing]:
        """Listen to this project's loggers for as long as the block runs."""
        loggers = [logging.getLogger(name) for name in SOURCES]
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            if logger.getEffectiveLevel() > logging.INFO:
                logger.setLevel(logging.INFO)
        try:
            yield self
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)


def _level(number: int) -> Level:
    for least, name in ((50, "critical"), (40, "error"), (30, "warning"), (20, "info")):
        if number >= least:
            return name  # type: ignore[return-value]
    return "debug"
