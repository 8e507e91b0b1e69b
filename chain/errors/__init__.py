"""Errors: the base classes, every code there is, and the registry of what a code means and becomes."""

from __future__ import annotations

from chain.errors.base import ChainRejectedError, ChainUnavailableError, IdlewattError, UsageError
from chain.errors.codes import ErrorCode
from chain.errors.entry import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    WEBSOCKET_POLICY_VIOLATION,
    ErrorEntry,
    JsonRpc,
)
from chain.errors.registry import AREAS, ERRORS, is_known

__all__ = [
    "AREAS",
    "ERRORS",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "WEBSOCKET_POLICY_VIOLATION",
    "ChainRejectedError",
    "ChainUnavailableError",
    "ErrorCode",
    "ErrorEntry",
    "IdlewattError",
    "JsonRpc",
    "UsageError",
    "is_known",
]
