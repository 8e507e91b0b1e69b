"""The market as this node sees it: what relays list, verified, and what did not pass and why."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from chain.errors import IdlewattError
from node.market.choice import rank
from node.market.offers import Offer, decode_offer, offer_problem, offer_view
from node.relay.client import OfferListing
from node.services.chain_desk import ChainDesk, Rollup
from node.services.jobs import now_ms
from node.services.relay_desk import RelayDesk
from node.values import OfferView

FRESH_S: Final = 3.0
"""How long a reading of the market is used again."""
MAX_OFFERS: Final = 500


@dataclass(frozen=True, slots=True)
class Market:
    """One reading of the market."""

    offers: dict[str, Offer]
    """By offer id."""
    views: tuple[OfferView, ...]
    """Best first."""
    unusable: dict[str, int]
    """How many were not shown, by reason."""


class MarketDesk:
    """Reads and verifies offers.

    Args:
        relay: Where they are listed.
        chain: What they must be signed for, and where their providers must have accounts.
    """

    def __init__(self, relay: RelayDesk, chain: ChainDesk) -> None:
        self._relay = relay
        self._chain = chain
        self._read: tuple[float, Market] | None = None
        self._funded: set[tuple[str, bytes]] = set()

    async def read(self, *, mine: bytes | None, fresh: bool = False) -> Market:
        """The market now, at most ``FRESH_S`` old.

        Raises:
            IdlewattError: If relay or chain were never reached.
        """
        if self._read and not fresh and time.monotonic() - self._read[0] < FRESH_S:
            return self._read[1]
        rollup = await self._chain.rollup()
        client = await self._relay.client()
        market = await self._verify(await client.offers(MAX_OFFERS), rollup, mine)
        self._read = time.monotonic(), market
        return market

    def forget(self) -> None:
        """Something about an offer proved wrong: read the market afresh next time."""
        self._read = None

    async def _verify(self, listings: list[OfferListing], rollup: Rollup, mine: bytes | None) -> Market:
        unusable: Counter[str] = Counter()
        offers: dict[str, Offer] = {}
        at_ms = now_ms()
        for listing in listings:
            offer = decode_offer(listing.offer)
            if offer is None:
                unusable["malformed"] += 1
                continue
            problem = offer_problem(
                offer, domain=rollup.domain, deployment=rollup.deployment, node_id=listing.node_id, now_ms=at_ms
            ) or await self._funding_problem(offer, rollup)
            if problem:
                unusable[problem] += 1
            else:
                offers[offer.offer_id] = offer
        views = rank(offer_view(offer, mine=offer.provider == mine) for offer in offers.values())
        return Market(offers, views, dict(unusable))

    async def _funding_problem(self, offer: Offer, rollup: Rollup) -> str:
        """``unfunded`` for a provider that has no account to be paid to; one found once is remembered."""
        key = rollup.info.deployment, offer.provider
        if key in self._funded:
            return ""
        try:
            if await rollup.client.account(offer.provider) is None:
                return "unfunded"
        except IdlewattError:
            # The chain is silent for a moment: a signed offer of this deployment is not hidden for that.
            return ""
        self._funded.add(key)
        return ""
