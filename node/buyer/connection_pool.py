"""Connections to providers: sealed sessions that stay open after an answer, so that a chat connects only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from node.market.offers import Offer
from node.relay.circuit import Circuit, NodeId
from node.runtime.relay_connection import RelayConnection
from node.session import buyer_io as io
from node.session.link import SealedLink
from node.session.mailbox import Mailbox

CONNECT_TIMEOUT_S: Final = 10.0
KEPT_S: Final = 240.0
"""How long a connection on which nothing is said is kept; providers keep theirs a little longer."""
MOST_KEPT: Final = 8


class ProviderConnection:
    """One open connection to a provider."""

    def __init__(self, offer: Offer, mailbox: Mailbox) -> None:
        self.offer = offer
        self.mailbox = mailbox
        self.was_kept = False
        """Whether it was open before this request: the provider may have gone since."""
        self.is_clean = True
        """Whether nothing was asked on it yet, or what was ended in order: then more may be asked."""
        self.is_lost = False
        """Whether it was kept, and the provider had ended it before it took in the request."""

    def record_outcome(self, outcome: io.Finished | io.Failed, *, was_heard: bool, is_settled: bool) -> None:
        """A request on it is over: see whether another may follow, or the connection itself was the trouble.

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
    """Dials providers, and keeps connections that may be of use again.

    Args:
        relay: The buyer's connection.
    """

    def __init__(self, relay: RelayConnection) -> None:
        self._relay = relay
        self._kept: dict[ProviderConnection, asyncio.TimerHandle] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def acquire(self, offer: Offer) -> ProviderConnection:
        """A connection to an offer's provider: one that was kept, or a new one.

        Raises:
            IdlewattError: If relay or provider can't be reached, or the provider is not who the offer says.
            TimeoutError: If it doesn't answer.
        """
        for connection in list(self._kept):
            if not connection.mailbox.is_empty:
                self._end(connection)  # it ended, or the provider said goodbye
            elif _is_same_end(connection.offer, offer):
                self._kept.pop(connection).cancel()
                connection.was_kept = True
                return connection
        return await self.connect(offer)

    async def connect(self, offer: Offer) -> ProviderConnection:
        """A new connection; raises as :meth:`to` does."""
        mailbox = Mailbox(await self.open_link(offer))
        mailbox.open()
        return ProviderConnection(offer, mailbox)

    async def open_link(self, offer: Offer) -> SealedLink:
        """A new sealed session for one message and its answer; raises as :meth:`to` does."""
        client = await self._relay.client()
        if client.free_circuits < 2:
            self._end_all()

        def dial(hello: bytes) -> Awaitable[Circuit]:
            return client.connect(NodeId(offer.node_id), first=hello, timeout_s=CONNECT_TIMEOUT_S)

        return await SealedLink.connect(dial, offer.transport_key, timeout_s=CONNECT_TIMEOUT_S)

    async def release(self, connection: ProviderConnection) -> None:
        """The request on a connection is over: keep the connection if it is clean, else close it."""
        if self._is_closed or not connection.is_clean or not connection.mailbox.is_empty:
            await connection.close("done" if connection.is_clean else "failed")
            return
        while len(self._kept) >= MOST_KEPT:
            self._end(next(iter(self._kept)))
        self._kept[connection] = asyncio.get_running_loop().call_later(KEPT_S, self._end, connection)

    async def close(self) -> None:
        """Close every connection that was kept; what is given back later is closed as well."""
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
