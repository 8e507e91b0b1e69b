"""Structured logs: a record is the name of an event with key-value pairs.

    log = get_logger(__name__)
    log.info("batch_posted", batch=12, l1_tx=tx_hash)

The name is a snake_case phrase in the past tense, made of words that an operator understands without the code. Values
are key-value pairs, never part of the name. Secrets never stand in a record. Records pass through the standard
library's ``logging``: any handler shows ``event key=value …``, and ``app.logs`` writes the pairs as JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


class LogEvent:
    """What a record says; its text is the name, then ``key=value`` for each value.

    Args:
        name: What happened.
        values: Their order is kept. Bytes become hex.
    """

    __slots__ = ("name", "values")

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self.name = name
        self.values = {key: _readable(value) for key, value in values.items()}

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={_quoted(value)}" for key, value in self.values.items())))


def get_logger(name: str) -> BoundLogger:
    """The structured logger of a module.

    Args:
        name: The module's ``__name__``; also the name of the ``logging`` logger that gets the records.
    """
    return cast("BoundLogger", _LazyLogger(name))


class _LazyLogger:
    """Imports structlog, which brings rich along, when the first enabled record is written."""

    def __init__(self, name: str) -> None:
        self._std = logging.getLogger(name)

    @cached_property
    def _bound(self) -> BoundLogger:
        import structlog

        logger = structlog.wrap_logger(
            self._std,
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                _to_logging,
            ],
        )
        return cast("BoundLogger", logger.bind())

    def __getattr__(self, name: str) -> Any:
        level = logging.getLevelNamesMapping().get(name.upper())
        if level is not None and not self._std.isEnabledFor(level):
            return _say_nothing
        return getattr(self._bound, name)


def _say_nothing(_event: str, *_args: object, **_values: object) -> None: ...


def _to_logging(
    _logger: logging.Logger, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[LogEvent], dict[str, Any]]:
    """Structlog's last processor: the arguments for the ``logging`` logger."""
    options = {name: event.pop(name) for name in ("exc_info", "stack_info") if name in event}
    return (LogEvent(str(event.pop("event")), event),), options


def _readable(value: object) -> object:
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _quoted(value: object) -> str:
    try:
        text = str(value)
    except Exception:  # what can't be told must not stop the code that tells of it
        text = f"<{type(value).__name__}>"
    is_word = text.isprintable() and text and not set(text) & set(" \"'=")
    return text if is_word else ascii(text) if not text.isprintable() else repr(text)
