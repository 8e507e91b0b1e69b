"""Two limits of the relay at the TCP level: connections per address, and the time until the handshake is done.

Bytes that never become an HTTP request never reach a request handler, so the TCP connection itself enforces them.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Any

from aiohttp import web

_IPV6_SITE_BITS = 64


def address_group(host: str) -> str:
    """The address that shares one allowance: an IPv4 address, or an IPv6 /64, which is what one customer gets."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))


class ConnectionLimiter:
    """Counts connections by address.

    Args:
        connections_per_ip: Above this number, a connection gets a coded error; above twice the number, it is aborted
            at once.
        handshake_s: How long a connection may take until ``LimitedHandler.settled`` is called.
    """

    def __init__(self, connections_per_ip: int, handshake_s: float) -> None:
        self.connections_per_ip = connections_per_ip
        self.handshake_s = handshake_s
        self._open: Counter[str] = Counter()

    def enter(self, group: str) -> bool:
        """Count one more connection; returns whether it may stay at least until it got its coded error."""
        self._open[group] += 1
        return self._open[group] <= 2 * self.connections_per_ip

    def leave(self, group: str) -> None:
        """Count one connection less."""
        self._open[group] -= 1
        if not self._open[group]:
            del self._open[group]

    def is_crowded(self, group: str) -> bool:
        """Whether an address has more connections than it may."""
        return self._open[group] > self.connections_per_ip

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._open.total()


class LimitedHandler(web.RequestHandler):
    """An HTTP connection that passed a limiter."""

    def __init__(self, limiter: ConnectionLimiter, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limiter = limiter
        self._deadline: asyncio.TimerHandle | None = None
        self._entered = False
        self.group = ""
        """The address group of the peer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and start the clock of its handshake."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.group = address_group(str(peer[0])) if peer else "unknown"
        self._entered = True
        if not self._limiter.enter(self.group):
            self._abort()
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._limiter.handshake_s, self._abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Uncount the connection."""
        self.settled()
        if self._entered:
            self._entered = False
            self._limiter.leave(self.group)
        super().connection_lost(exc)

    def settled(self) -> None:
        """Stop the clock: from here on another deadline holds."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _abort(self) -> None:
        transport = self.transport
        if isinstance(transport, asyncio.Transport):
            transport.abort()
