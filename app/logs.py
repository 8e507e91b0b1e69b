"""Logs: a rotating JSON-lines file for each process, readable by its owner only; nothing on the terminal."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from functools import cached_property
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from chain.logs import LogEvent

MAX_LOG_BYTES = 5_000_000
KEPT_LOGS = 3
NOISY = ("asyncio", "aiohttp.access", "web3", "urllib3", "eth", "markdown_it", "aiosqlite")


def log_to(folder: Path, name: str, level: str = "info") -> Path:
    """Send this process's logging to ``folder/name.log``; returns the file's path."""
    path = folder / f"{name}.log"
    handler = _OwnerOnlyHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8", delay=True)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return path


class _OwnerOnlyHandler(RotatingFileHandler):
    """A rotating file that only its owner can read: logs name peers and amounts."""

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the stream type is logging's own
        Path(self.baseFilename).touch(mode=0o600)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: what a log on a full disk can't keep must not stand as a traceback on somebody's terminal.

        Whatever needs the disk for more than a log fails for the same reason, and tells of it in one line.
        """


class _JsonLines(logging.Formatter):
    """One JSON object a record; structlog, which brings rich along, is imported by the first record only."""

    @cached_property
    def _lines(self) -> logging.Formatter:
        import structlog

        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                _take_values,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        return self._lines.format(record)


def _take_values(_logger: logging.Logger, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structured record's event and values as the line's own keys."""
    message = line["_record"].msg
    if isinstance(message, LogEvent):
        line.update(message.values)
        line["event"] = message.name
    return line
