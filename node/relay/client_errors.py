"""What a relay client's failures look like to a person: one line, and what to do."""

from __future__ import annotations

import os
from typing import Final

import aiohttp
from yarl import URL

from node.relay.circuit import RelayError
from node.relay.client_connection import LostError
from node.wire.errors import WireError

FATAL_CODES: Final = frozenset({"auth", "version", "replaced"})
"""Refusals that trying again can't change."""
CONNECT_LINES: Final = {
    "peer_unknown": "The node isn't connected to this relay.",
    "peer_refused": "The node refused the circuit.",
    "peer_gone": "The node has just gone.",
    "limit_circuits": "The node has no free circuit.",
}
"""Why a circuit couldn't be opened, by its code."""


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


def relay_error(url: str, code: str, line: str) -> RelayError:
    """The error for a person whose relay at ``url`` failed with ``code``."""
    if code == "relay_unreachable":
        return RelayError(
            f"The relay at {url} can't be reached{f' ({line})' if line else ''}.",
            fix="Start one with `idlewatt relay` or pass --relay.",
        )
    return RelayError(line, code=code, fix="Update Idlewatt or pass another --relay." if code == "version" else "")
