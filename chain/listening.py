"""The sockets that a server listens on: every family of its address, all on one port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from chain.errors import IdlewattError

_ANY_IPV6: Final = "::"
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What the system says of an address of a family that it doesn't speak."""
_FIX: Final = "Give an address of this machine with --host: 127.0.0.1 for this machine alone, 0.0.0.0 or :: for all."


async def listening_sockets(host: str, port: int, *, backlog: int = 512) -> list[socket.socket]:
    """Sockets that listen already; whoever gets them closes them.

    ``::`` takes IPv4 as well, where the system can. A name with addresses of both families, such as ``localhost``, is
    listened to on the same port of each.

    Args:
        host: An address or a name of this machine; empty for every address.
        port: 0 picks a free one.
        backlog: How many connections may wait to be accepted.

    Raises:
        IdlewattError: ``port_in_use`` or ``cannot_listen``.
    """
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        has_ipv4 = any(family == socket.AF_INET for family, *_ in found)
        away: OSError | None = None
        for family, _, _, _, address in dict.fromkeys(found):
            if sockets:
                # Where any port will do, every family gets the one that the first got.
                address = (address[0], sockets[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            try:
                sockets.append(_listening(family, address, backlog, both=not has_ipv4))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                away = error
        if away is not None and not sockets:
            raise away
    except (OSError, UnicodeError, OverflowError) as error:
        for opened in sockets:
            opened.close()
        raise _refusal(error, host, port) from None
    return sockets


def _listening(family: int, address: tuple[object, ...], backlog: int, *, both: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            takes_ipv4 = both and address[0] == _ANY_IPV6 and socket.has_dualstack_ipv6()
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not takes_ipv4)
        opened.bind(address)
        opened.listen(backlog)
    except BaseException:
        opened.close()
        raise
    return opened


def _refusal(error: OSError | UnicodeError | OverflowError, host: str, port: int) -> IdlewattError:
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return IdlewattError(
                f"Port {port} is in use.",
                code="port_in_use",
                fix="Stop what uses it, or choose another port; 0 picks one.",
            )
        case OSError(errno=errno.EACCES):
            return IdlewattError(
                f"Port {port} is for the system's own services.", code="cannot_listen", fix="Choose one above 1023."
            )
        case socket.gaierror() | UnicodeError() | OverflowError():
            return IdlewattError(f"{host[:100]!r} is no address of a machine.", code="cannot_listen", fix=_FIX)
        case OSError() if error.errno in _NOT_HERE:
            return IdlewattError(f"{host[:100]} is no address of this machine.", code="cannot_listen", fix=_FIX)
    return IdlewattError(
        f"Can't listen on {host[:100]}:{port}: {getattr(error, 'strerror', None) or error}.",
        code="cannot_listen",
        fix=_FIX,
    )
