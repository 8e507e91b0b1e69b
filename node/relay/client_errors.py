"""The failures of a relay client in words: one line, and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
from yarl import URL

from chain.errors import ERRORS
from node.relay.circuit import RelayError
from node.relay.client_connection import LostError, RefusedError
from node.wire.wire_error import WireError

FATAL_CODES: Final = frozenset(
    code for code, entry in ERRORS.items() if entry.websocket_close is not None and not entry.is_retryable
)
"""Refusals that a retry can't change."""
_FIXES: Final = {
    "auth": "Check the relay's address, or pass another --relay.",
    "limit_connections": "Close other nodes at this address, or pass another --relay.",
    "limit_nodes": "Wait until it has room, or pass another --relay.",
    "relay_unreachable": "Start one with `idlewatt relay` or pass --relay.",
    "replaced": "End the other node that uses this identity.",
    "version": "Update Idlewatt or pass another --relay.",
}
"""What to do about a failed connection, by its code. A code without an entry ends by trying again."""
_BY_DATE: Final = (9, 10)
"""OpenSSL's codes for a certificate that isn't valid yet, and for one that is no longer."""
CONNECT_LINES: Final = {
    "peer_unknown": "The node isn't connected to this relay.",
    "peer_refused": "The node refused the circuit.",
    "peer_gone": "The node has just gone.",
    "limit_circuits": "The node has no free circuit.",
}
"""Why a circuit could not be opened, by code."""


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """Why a connection to a relay failed or ended."""

    code: str
    line: str
    """One line for a person, without the relay's address; text of the relay in it is plain and bounded."""

    @property
    def fix(self) -> str:
        """What to do about it, in our own words; empty where waiting is enough."""
        return _FIXES.get(self.code, "")

    @property
    def is_final(self) -> bool:
        """Whether trying again can't help."""
        return self.code in FATAL_CODES

    def error(self, url: str) -> RelayError:
        """The failure as the error that a caller gets.

        Args:
            url: The relay's address, without credentials.
        """
        line = self.line
        if self.code == "relay_unreachable":
            line = f"The relay at {url} can't be reached{f' ({line})' if line else ''}."
        return RelayError(line, fix=self.fix, peer_code=self.code)


def failure_of(error: Exception) -> ConnectionFailure:
    """What an exception of a connection means."""
    code = error.code if isinstance(error, RefusedError | WireError) else "relay_unreachable"
    return ConnectionFailure(code, describe(error))


def describe(error: Exception) -> str:
    """One line, without the address, of why a connection failed or ended."""
    if isinstance(error, LostError | WireError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unknown host name"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"HTTP status {error.status}: no relay there"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        found = getattr(error, "certificate_error", None)
        if getattr(found, "verify_code", None) in _BY_DATE:
            return (
                f"its certificate isn't valid at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: is this machine's clock right?"
            )
        return "its certificate isn't valid"
    number = getattr(getattr(error, "os_error", error), "errno", None)
    return os.strerror(number).lower() if number else type(error).__name__


def parse_url(url: str) -> URL:
    """Parse a relay's address.

    Raises:
        RelayError: With code ``relay_url`` if it isn't one.
    """
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"ws", "wss"} or not parsed.host:
        raise RelayError(
            "A relay's address looks like ws://host:9000 or wss://host.", code="relay_url", fix="Correct --relay."
        )
    return parsed
