"""The error for what a peer sent or did against the protocol."""

from __future__ import annotations

from chain.errors import IdlewattError


class WireError(IdlewattError):
    """A peer broke the protocol or a limit; the peer gets the code before its connection is closed."""

    default_code = "protocol"
