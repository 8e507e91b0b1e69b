"""Connections to providers: sealed sessions that stay open after an answer, so that a chat connects only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from node.buyer.limits import BuyerLimits
from node.market.offers import Offer
from node.relay.circuit import Circuit, NodeId
from node.runtime.relay_connection import RelayConnection
from node.session import buyer_io as io
from node.session.mailbox import Mailbox
from node.session.sealed_link import SealedLink

MOST_KEPT: Final = 8


class ProviderConnection:
    """One open connection to a provider."""

    def __init__(self, offer: Offer, mailbox: Mailbox) -> None:
        self.offer = offer
        self.mailbox = mailbox
        self.was_kept = False
        """Whether it was open before this request. The provider may have gone since."""
        self.is_clean = True
        """Whether another request may follow: nothing was asked yet, or the last request ended in order."""
        self.is_lost = False
        """Whether it was kept open, and the provider had closed it before it read the request."""

    def record_outcome(self, outcome: io.Finished | io.Failed, *, was_heard: bool, is_settled: bool) -> None:
        """Note how a request ended: whether another may follow, and whether the connection itself failed.

        Args:
            outcome: How the request ended.
            was_heard: Whether the provider said anything about it.
            is_settled: Whether the provider said that everything is paid for.
        """
        self.is_clean = is_settled and isinstance(outcome, io.Finished)
        ended = not was_heard and self.mailbox.is_over
        self.is_lost = self.was_kept and isinstance(outcome, io.Failed) and (ended or outcome.code == "session_over")

    async def close(self, code: str = "done") -> None:
        """Close it."""
        await self.mailbox.link.close(code)
        await self.mailbox.close()


class ConnectionPool:
    """Connects to providers, and keeps connections for the next request.

    Args:
        relay: The connection to the relay.
        limits: How long connecting may take, and how long an idle connection is kept.
    """

    def __init__(self, relay: RelayConnection, limits: BuyerLimits) -> None:
        self._limits = limits
        self._relay = relay
        self._kept: dict[ProviderConnection, asyncio.TimerHandle] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def acquire(self, offer: Offer) -> ProviderConnection:
        """A connection to an offer's provider: a kept one, or a new one.

        Raises:
            IdlewattError: If relay or provider can't be reached, or the provider is not who the offer says.
            TimeoutError: If it doesn't answer.
        """
        for connection in list(self._kept):
            if not connection.mailbox.is_empty:
                self._end(connection)  # the provider closed it, or says something unasked
            elif _is_same_end(connection.offer, offer):
                self._kept.pop(connection).cancel()
                connection.was_kept = True
                return connection
        return await self.connect(offer)

    async def connect(self, offer: Offer) -> ProviderConnection:
        """A new connection; raises as :meth:`acquire` does."""
        mailbox = Mailbox(await self.open_link(offer))
        mailbox.open()
        return ProviderConnection(offer, mailbox)

    async def open_link(self, offer: Offer) -> SealedLink:
        """A new sealed link for one message and its answer; raises as :meth:`acquire` does."""
        timeout_s = self._limits.connect_timeout_s
        client = await self._relay.client()
        if client.free_circuits < 2:
            self._end_all()

        def dial(hello: bytes) -> Awaitable[Circuit]:
            return client.connect(NodeId(offer.node_id), first=hello, timeout_s=timeout_s)

        return await SealedLink.connect(dial, offer.transport_key, timeout_s=timeout_s)

    async def release(self, connection: ProviderConnection) -> None:
        """Give a connection back: it is kept if another request may follow on it, else closed."""
        if self._is_closed or not connection.is_clean or not connection.mailbox.is_empty:
            await connection.close("done" if connection.is_clean else "failed")
            return
        while len(self._kept) >= MOST_KEPT:
            self._end(next(iter(self._kept)))
        self._kept[connection] = asyncio.get_running_loop().call_later(self._limits.kept_s, self._end, connection)

    async def close(self) -> None:
        """Close every kept connection. Connections that are released later are closed as well."""
        self._is_closed = True
        self._end_all()
        await asyncio.gather(*self._endings)

    def _end_all(self) -> None:
        for connection in list(self._kept):
            self._end(connection)

    def _end(self, connection: ProviderConnection) -> None:
        self._kept.pop(connection).cancel()
        task = asyncio.create_task(connection.close(), name="close connection")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


def _is_same_end(one: Offer, other: Offer) -> bool:
    return (one.node_id, one.transport_key) == (other.node_id, other.transport_key)
