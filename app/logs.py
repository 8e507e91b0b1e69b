"""Logs: one rotating JSON-lines file a process, owner-only, and nothing on a terminal that a screen is painted on."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

MAX_LOG_BYTES = 5_000_000
KEPT_LOGS = 3
NOISY = ("asyncio", "aiohttp.access", "web3", "urllib3", "eth", "markdown_it", "aiosqlite")


def log_to(folder: Path, name: str, level: str = "info") -> Path:
    """Send this process's logging to ``folder/name.log``; returns the file's path."""
    path = folder / f"{name}.log"
    handler = _OwnerOnlyHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8", delay=True)
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
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
