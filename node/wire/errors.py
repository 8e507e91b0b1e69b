"""The error of the validation boundary: what a peer sent, or did, that the protocol does not allow."""

from __future__ import annotations

from chain.errors import IdlewattError


class WireError(IdlewattError):
    """A peer broke the protocol or crossed a limit; ``code`` travels to it as the coded error before the close.

    Codes: ``protocol`` (malformed or out of turn), ``version``, ``auth``, ``handshake_timeout``, ``idle_timeout``,
    ``credit``, ``circuit_unknown``, ``circuit_reused``, ``replaced``, ``relay_closing``, and one ``limit_…`` for each
    limit: ``limit_frame``, ``limit_circuits``, ``limit_offers``, ``limit_offer_bytes``, ``limit_rate``,
    ``limit_connections``, ``limit_nodes``, ``limit_buffer``, ``limit_queries``.
    """

    default_code = "protocol"
