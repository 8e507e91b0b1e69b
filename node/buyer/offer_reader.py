"""Reads the offers that a relay lists, verifies them, and counts those that are not shown, by reason."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from chain.logs import get_logger
from chain.views import AccountView
from node.buyer.limits import BuyerLimits
from node.buyer.provider_accounts import ProviderAccounts
from node.market.choice import REASONS, rank
from node.market.offers import Offer, account_problem, decode_offer, offer_problem, offer_view
from node.relay.client import OfferListing
from node.rollup.monitor import Rollup, RollupMonitor
from node.runtime.clock import NodeClock
from node.runtime.relay_connection import RelayConnection
from node.values import OfferView

log = get_logger(__name__)

FRESH_S: Final = 3.0
"""How long one reading is used again."""
MAX_OFFERS: Final = 500


@dataclass(frozen=True, slots=True)
class VerifiedOffers:
    """The offers of one reading."""

    offers: dict[str, Offer]
    """By offer id."""
    views: tuple[OfferView, ...]
    """Best first."""
    unusable: dict[str, int]
    """How many were not shown, by reason."""


class OfferReader:
    """Reads and verifies offers.

    Args:
        relay: Lists the offers.
        chain: What they must be signed for, and where their providers must have accounts and the stakes they claim.
        limits: How long the chain is waited for.
        clock: What offers' times are compared with.
    """

    def __init__(self, relay: RelayConnection, chain: RollupMonitor, limits: BuyerLimits, clock: NodeClock) -> None:
        self._clock = clock
        self._relay = relay
        self._chain = chain
        self._read: tuple[float, VerifiedOffers] | None = None
        self._accounts = ProviderAccounts(limits)
        self._told: Counter[str] = Counter()

    async def read(self, *, mine: bytes | None, fresh: bool = False) -> VerifiedOffers:
        """The market now, at most ``FRESH_S`` old.

        Raises:
            IdlewattError: If relay or chain were never reached, or this machine's clock is wrong.
        """
        if self._read and not fresh and time.monotonic() - self._read[0] < FRESH_S:
            return self._read[1]
        rollup = await self._chain.rollup()
        client = await self._relay.client()
        self._clock.check()
        market = await self._verify(await client.offers(MAX_OFFERS), rollup, mine)
        self._read = time.monotonic(), market
        return market

    def forget(self) -> None:
        """Read again next time, because an offer proved wrong."""
        self._read = None

    async def run(self) -> None:
        """Ask the chain about providers whenever offers are read, until cancelled."""
        await self._accounts.run()

    async def _verify(self, listings: list[OfferListing], rollup: Rollup, mine: bytes | None) -> VerifiedOffers:
        unusable: Counter[str] = Counter()
        signed: list[Offer] = []
        at_ms = self._clock.now_ms()
        for listing in listings:
            offer = decode_offer(listing.offer)
            if offer is None:
                unusable["malformed"] += 1
                continue
            problem = offer_problem(
                offer, domain=rollup.domain, deployment=rollup.deployment, node_id=listing.node_id, now_ms=at_ms
            )
            if problem:
                unusable[problem] += 1
            else:
                signed.append(offer)
        claims_nano: dict[bytes, int] = {}
        for offer in signed:
            claims_nano[offer.provider] = max(offer.stake_nano, claims_nano.get(offer.provider, 0))
        accounts = await self._accounts.read(rollup, claims_nano)
        offers: dict[str, Offer] = {}
        for offer in signed:
            # While the chain has not answered for a provider, its offer is shown, without a stake.
            problem = account_problem(offer, accounts[offer.provider]) if offer.provider in accounts else ""
            if problem:
                unusable[problem] += 1
            else:
                offers[offer.offer_id] = offer
        self._tell(unusable)
        views = rank(_view(offer, accounts.get(offer.provider), mine) for offer in offers.values())
        return VerifiedOffers(offers, views, dict(unusable))

    def _tell(self, unusable: Counter[str]) -> None:
        if unusable != self._told:
            self._told = unusable
            for reason, count in sorted(unusable.items()):
                log.info("offers_hidden", count=count, reason=REASONS[reason])


def _view(offer: Offer, account: AccountView | None, mine: bytes | None) -> OfferView:
    stake_nano, slash_from = (account.stake_nano, account.slash_from) if account else (0, 0)
    return offer_view(offer, stake_nano=stake_nano, slash_from=slash_from, mine=offer.provider == mine)
