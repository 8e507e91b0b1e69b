"""Which nodes are connected, to which relay, with which offers; and the pages in which nodes read them."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

from node.wire.messages import Listing
from node.wire.wire_error import WireError

_KEY_BYTES: Final = 32
_INDEX_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One node that is connected now.

    Args:
        relay: The name of its relay on the bus.
        offers: What it lists, as it published them.
    """

    relay: str
    offers: tuple[bytes, ...]


class Directory:
    """The nodes that are connected now, here or at another relay of the same bus."""

    def __init__(self) -> None:
        self._present: dict[bytes, DirectoryEntry] = {}
        self._order: list[bytes] = []
        self.offers = 0
        """How many offers are listed."""

    def put(self, node: bytes, relay: str, offers: tuple[bytes, ...]) -> None:
        """Note that ``node`` is connected to ``relay`` and offers these."""
        old = self._present.get(node)
        if old is None:
            insort(self._order, node)
        else:
            self.offers -= len(old.offers)
        self._present[node] = DirectoryEntry(relay, offers)
        self.offers += len(offers)

    def remove(self, node: bytes, relay: str) -> bool:
        """Forget ``node`` if ``relay`` is where it was; returns whether it was forgotten."""
        old = self._present.get(node)
        if old is None or old.relay != relay:
            return False
        del self._present[node]
        del self._order[bisect_left(self._order, node)]
        self.offers -= len(old.offers)
        return True

    def find(self, node: bytes) -> DirectoryEntry | None:
        """Return the entry of ``node``, or ``None`` if it isn't connected."""
        return self._present.get(node)

    def of_relay(self, relay: str) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return the nodes that are connected to one relay, and their offers."""
        return [(node, entry.offers) for node, entry in self._present.items() if entry.relay == relay]

    def page(self, cursor: bytes, limit: int, max_bytes: int) -> tuple[tuple[Listing, ...], bytes]:
        """Return the listings after ``cursor``, at most ``limit`` of them and one more than ``max_bytes`` at most.

        The order is by node key and then as published, so a reader that pages while others come and go sees each
        offer that stayed exactly once.

        Returns:
            The listings, and the cursor of the next page, empty at the end.

        Raises:
            WireError: If ``cursor`` isn't one that a page returned.
        """
        if cursor and len(cursor) != _KEY_BYTES + _INDEX_BYTES:
            raise WireError("The cursor isn't one that a page returned.")
        start_node, start_index = cursor[:_KEY_BYTES], int.from_bytes(cursor[_KEY_BYTES:], "big")
        listings: list[Listing] = []
        size_bytes = 0
        for position in range(bisect_left(self._order, start_node), len(self._order)):
            node = self._order[position]
            first = start_index if node == start_node else 0
            for index, offer in enumerate(self._present[node].offers[first:], first):
                if len(listings) == limit or size_bytes > max_bytes:
                    return tuple(listings), node + index.to_bytes(_INDEX_BYTES, "big")
                listings.append(Listing(node, offer))
                size_bytes += _KEY_BYTES + len(offer)
        return tuple(listings), b""
