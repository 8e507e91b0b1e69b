"""What the registry says about one error code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

HTTP_BAD_REQUEST: Final = 400

WEBSOCKET_POLICY_VIOLATION: Final = 1008
"""With this status a relay closes a connection after its coded error (RFC 6455, section 7.4.1)."""


class JsonRpc(IntEnum):
    """Error numbers of JSON-RPC 2.0 (section 5.1), and those of EIP-1474 that the rollup's server uses."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    REJECTED = -32000
    UNAVAILABLE = -32002
    BUSY = -32005


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error code: what it means, and what it becomes on each way out of the program."""

    meaning: str
    """One sentence."""
    http_status: int
    """The status of an HTTP answer that reports it."""
    json_rpc: JsonRpc = JsonRpc.INTERNAL_ERROR
    """The number of a JSON-RPC answer that reports it."""
    exit_status: int = EXIT_FAILED
    """The exit status of a command that it ends."""
    as_usage: bool = False
    """Whether it is also raised as a ``UsageError``, which has an exit status and numbers of its own."""
    is_retryable: bool = False
    """Whether the same request may succeed later, with nothing changed."""
    websocket_close: int | None = None
    """The status with which a relay closes the connection that it ends; ``None`` where a relay never does."""
    ends_circuit: bool = False
    """Whether it is a closing code that a relay, or its client, ends a circuit with."""
