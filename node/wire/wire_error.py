"""The error of the validation boundary: what a peer sent, or did, that the protocol does not allow."""

from __future__ import annotations

from chain.errors import IdlewattError


class WireError(IdlewattError):
    """A peer broke the protocol or crossed a limit; ``code`` travels to it as the coded error before the close."""

    default_code = "protocol"
