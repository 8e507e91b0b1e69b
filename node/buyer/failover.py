"""Failover: which offers a turn tries, in which order, for how long, and why it ends without an answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from chain.errors import ErrorCode, IdlewattError
from chain.logs import get_logger
from node.buyer.deposit import counted_need, estimated_need, over_the_limit
from node.buyer.limits import BuyerLimits
from node.buyer.offer_client import CHANNEL_REFUSED, OfferClient
from node.buyer.offer_reader import OfferReader, VerifiedOffers
from node.buyer.turn import TurnView
from node.market.choice import candidates, needs_of
from node.market.offers import Offer
from node.payments.wallet import NodeWallet
from node.session import buyer_io as io
from node.values import ChatTurn, OfferView
from node.values.inference import content_bytes

log = get_logger(__name__)

ATTEMPTS: Final = 3
"""Offers tried for one turn, as long as no token has come."""
BUSY_PAUSE_S: Final = 0.5
LEAST_BUSY_WAIT_S: Final = 1.0
"""A busy provider that says less is asked again after this."""

MONEY_IS_SHORT: Final[frozenset[ErrorCode]] = frozenset({"no_funds", "spend_limit"})
"""A cheaper offer, or one with an open channel, may still do. If none does, this is what the person can change."""

NO_FAILOVER: Final[frozenset[ErrorCode]] = frozenset(
    {
        "ambiguous_wallet",
        "cancelled",
        "chain_timeout",
        "chain_unreachable",
        "no_voucher_key",
        "no_wallet",
        "too_long",
        "unconfirmed",
        "wallet_locked",
    }
)
"""Failures of this side that another offer would share; a provider that names one may be lying."""


class Failover:
    """Tries offers until one has delivered a token.

    Args:
        offers: What is on the market.
        client: Asks one offer.
        wallet: Whose own offers come first.
        reconcile_soon: Called when a provider refused a channel that this side believes in.
        limits: How long busy providers are waited for.
    """

    def __init__(
        self,
        offers: OfferReader,
        client: OfferClient,
        wallet: NodeWallet,
        reconcile_soon: Callable[[], None],
        limits: BuyerLimits,
    ) -> None:
        self._offers = offers
        self._client = client
        self._wallet = wallet
        self._reconcile_soon = reconcile_soon
        self._limits = limits

    async def run(self, view: TurnView) -> None:
        """Answer a turn, or fail it.

        Raises:
            IdlewattError: If the market can't be read, or no offer fits.
        """
        loop, end_s = asyncio.get_running_loop(), math.inf
        while True:
            await view.stage("choosing", "Choosing an offer.")
            retry_after_s = await self._try_offers(view)
            if view.failure is None:
                return
            # What the attempts themselves take counts from the second round on: a provider can draw them out.
            now_s = loop.time()
            end_s = min(end_s, now_s + self._limits.busy_wait_s)
            if retry_after_s is None or now_s + retry_after_s > end_s or view.cancelled or view.delivered:
                break
            await view.stage("queued", f"Busy; asking again in {math.ceil(retry_after_s)} s.")
            if await view.is_cancelled_within(retry_after_s):
                break
        await view.fail(view.failure)

    async def _try_offers(self, view: TurnView) -> float | None:
        """Try the best offers in turn. ``view.failure`` says afterwards why all failed, or is ``None``.

        Returns:
            After how many seconds a provider that was busy may not be any more, if one said so.
        """
        turn, failed, retry_after_s = view.turn, frozenset[str](), None
        market = await self._offers.read(mine=self._wallet.address)
        view.failure = None
        for attempt in range(ATTEMPTS):
            try:
                chosen = _choose(market, turn, failed)
            except IdlewattError:
                if attempt:
                    break
                # The last reading may be stale: the offer may have come since.
                market = await self._offers.read(mine=self._wallet.address, fresh=True)
                chosen = _choose(market, turn, failed)
            failure = await self._try_offer(view, market.offers[chosen.offer_id], chosen)
            if failure is None:
                view.failure = None
                break
            log.info("offer_failed", offer=chosen.offer_id, code=failure.code, error=failure.message)
            if view.failure is None or view.failure.is_theirs or view.failure.code not in MONEY_IS_SHORT:
                view.failure = failure
            if failure.retry_after_ms:
                wait_s = max(LEAST_BUSY_WAIT_S, failure.retry_after_ms / 1000)
                retry_after_s = min(wait_s, retry_after_s or wait_s)
            if view.cancelled or view.delivered or (failure.code in NO_FAILOVER and not failure.is_theirs):
                break
            if failure.code in CHANNEL_REFUSED:
                self._reconcile_soon()
            elif failure.code == "channel_busy":
                await asyncio.sleep(BUSY_PAUSE_S)
            else:
                failed |= {chosen.offer_id}
                self._offers.forget()
        return retry_after_s

    async def _try_offer(self, view: TurnView, offer: Offer, chosen: OfferView) -> io.Failed | None:
        """Try one offer, and once more with a deposit by its count of the prompt where the estimate was too low."""
        failure = await self._client.ask(
            view, offer, chosen, estimated_need(offer, view.turn, view.spendable_nano).for_offer(chosen)
        )
        if failure is None or view.cancelled:
            return failure
        need = counted_need(offer, view.turn, failure, view.spendable_nano)
        if need is None:
            return failure
        need = need.for_offer(chosen)
        log.info("deposit_too_small", offer=chosen.offer_id, input_tokens=failure.input_tokens)
        return over_the_limit(need) or await self._client.ask(view, offer, chosen, need)


def _choose(market: VerifiedOffers, turn: ChatTurn, failed: frozenset[str]) -> OfferView:
    prompt_bytes = content_bytes(turn.messages)
    return candidates(
        market.views,
        model=turn.model,
        offer_id=turn.offer_id,
        # Few tokens are longer than eight bytes: less room than this can't be enough. The provider counts exactly.
        context_tokens=prompt_bytes // 8,
        needs=needs_of(turn),
        failed=failed,
        unusable=market.unusable,
    )[0]
