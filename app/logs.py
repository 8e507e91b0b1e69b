"""Logs: a rotating JSON-lines file for each process, readable by its owner only; nothing on the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import MutableMapping
from functools import cached_property
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from chain.logs import LogEvent

MAX_LOG_BYTES = 5_000_000
KEPT_LOGS = 3
_OWN_KEYS = frozenset(
    {"event", "level", "logger", "timestamp", "exception", "stack", "positional_args", "_record", "_from_structlog"}
)
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
                structlog.processors.JSONRenderer(allow_nan=False),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; one with values that JSON can't hold as its text alone."""
        try:
            return self._lines.format(record)
        except Exception:  # a record that is told in part is better than none
            text = str(record.msg) if isinstance(record.msg, LogEvent) else repr(record.msg)
            return json.dumps({"event": text, "level": record.levelname.lower(), "logger": record.name})


def _take_values(_logger: logging.Logger, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structured record's event and values as the line's own keys."""
    message = line["_record"].msg
    if isinstance(message, LogEvent):
        # A value that is called like one of a line's own keys stands beside it.
        line.update({f"{key}_" if key in _OWN_KEYS else key: value for key, value in message.values.items()})
        line["event"] = message.name
    return line
