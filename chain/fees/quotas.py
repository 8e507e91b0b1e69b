"""How often one client, and all of them together, may do what costs the operator: token buckets of bounded number."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

MINUTE_S: Final = 60.0
CLIENT_SHARE: Final = 8
"""One client gets at most this part of everybody's rate."""
NEWCOMERS_SHARE: Final = 4
"""The last part of everybody's rate is kept for clients that took nothing in the last minute."""
MAX_CLIENTS: Final = 4_096
_IPV6_SITE_BITS: Final = 64
_NOTHING: Final = 1e-9

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Bucket(msgspec.Struct, frozen=True):
    """What is left of a rate, and when that was so."""

    level: float
    at_s: float

    def at(self, now_s: float, capacity: float) -> float:
        """The level at a moment: a whole capacity flows in within a minute."""
        return min(capacity, self.level + max(0.0, now_s - self.at_s) * capacity / MINUTE_S)


class ClientQuotas:
    """A rate for everybody together, of which one client gets a part, and newcomers always find something.

    Args:
        per_minute: Everybody's rate.
        max_clients: How many are remembered; the one that was seen last of all is forgotten first.
    """

    def __init__(self, per_minute: int, *, max_clients: int = MAX_CLIENTS) -> None:
        self._capacity = float(per_minute)
        self._client_capacity = float(max(1, per_minute // CLIENT_SHARE))
        self._reserve = per_minute / NEWCOMERS_SHARE
        self._max_clients = max_clients
        self._all: Bucket | None = None
        self._clients: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def take(self, client: str | None, now_s: float) -> float:
        """Take one; returns 0 if there is one, else after how many seconds to come back.

        Args:
            client: Who asks; ``None`` for this program itself, which is only bound by everybody's rate.
            now_s: Monotonic seconds.
        """
        level = self._capacity if self._all is None else self._all.at(now_s, self._capacity)
        if client is None:
            wait_s = _wait_s(level, 1.0, self._capacity)
        else:
            own = self._level(client, now_s)
            is_new = own >= self._client_capacity - _NOTHING
            wait_s = max(
                _wait_s(own, 1.0, self._client_capacity),
                _wait_s(level, 1.0 if is_new else 1.0 + self._reserve, self._capacity),
            )
        if wait_s > 0:
            return wait_s
        self._all = Bucket(level - 1.0, now_s)
        if client is not None:
            self._clients[client] = Bucket(own - 1.0, now_s)
            self._clients.move_to_end(client)
            if len(self._clients) > self._max_clients:
                self._clients.popitem(last=False)
        return 0.0

    def _level(self, client: str, now_s: float) -> float:
        bucket = self._clients.get(client)
        return self._client_capacity if bucket is None else bucket.at(now_s, self._client_capacity)


def _wait_s(level: float, needed: float, capacity: float) -> float:
    return 0.0 if level + _NOTHING >= needed else (needed - level) * MINUTE_S / max(capacity, _NOTHING)


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """Who stands behind a request, as far as quotas tell clients apart.

    Args:
        peer: The address that the connection comes from.
        forwarded_for: What ``X-Forwarded-For`` says, in its order. It counts only as far as trusted proxies wrote it.
        trusted: The operator's own proxies.

    Returns:
        An IPv4 address, or an IPv6 site of 64 bits; ``None`` for this machine itself.
    """
    chain = [*forwarded_for, peer]
    while len(chain) > 1 and (address := _address(chain[-1])) is not None and _is_in(address, trusted):
        chain.pop()
    address = _address(chain[-1]) or _address(peer)
    if address is None or address.is_loopback:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> _IPV6_SITE_BITS << _IPV6_SITE_BITS, _IPV6_SITE_BITS)))
    return str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
