"""Publishes the provider's offer: signed anew whenever it changes, withdrawn while nothing is rented out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.market.offers import MAX_TEMPLATE_TOKENS, VALIDITY_MS, Offer, encode_offer, sign_offer
from node.payments.wallet import NodeWallet
from node.provider.session_manager import ServiceSpeed, ServingTerms
from node.relay.client import RelayClient
from node.rollup.monitor import RollupMonitor
from node.runtime.clock import NodeClock
from node.runtime.settings import NodeSettings

log = get_logger(__name__)

REFRESH_S: Final = 60.0
LEAST_REFRESH_S: Final = 0.5
"""Free slots change with every job; the offer follows, but no faster than this."""


class OfferPublisher:
    """Keeps one offer listed, as long as there is something to rent out.

    Args:
        settings: The node's settings.
        wallet: Signs the offer and is paid.
        chain: The rollup, whose deployment the offer is for.
        speed: The speed that it promises.
        transport_key: The X25519 public key that sessions are sealed to; 32 bytes.
        terms: What is rented out at this moment; ``None`` where nothing is.
        is_online: Whether the relay is connected.
        on_change: Told when the offer was listed, or is no longer.
        clock: What the offer is dated by; nothing is offered while it is wrong.
    """

    def __init__(  # noqa: PLR0913 - one parameter a neighbour
        self,
        settings: NodeSettings,
        wallet: NodeWallet,
        chain: RollupMonitor,
        speed: ServiceSpeed,
        *,
        transport_key: bytes,
        terms: Callable[[], ServingTerms | None],
        is_online: Callable[[], bool],
        on_change: Callable[[], None],
        clock: NodeClock,
    ) -> None:
        self._settings = settings
        self._wallet = wallet
        self._chain = chain
        self._speed = speed
        self._transport_key = transport_key
        self._terms = terms
        self._is_online = is_online
        self._on_change = on_change
        self._clock = clock
        self.published = False
        """Whether buyers can see it now."""
        self.account_exists = False
        """Whether the wallet has its account on the rollup, as far as is known."""
        self._stake_nano = 0
        self._failure = ""
        """Why it could not be published the last time."""
        self._due = asyncio.Event()
        self._first = asyncio.Event()

    def look_again(self) -> None:
        """Sign and publish the offer again: something in it has changed."""
        self._due.set()

    def withdrawn(self) -> None:
        """The relay is gone, and the offer with it."""
        self.published = False

    def chain_changed(self) -> None:
        """The chain was reset or came back: the account is looked for again and the offer signed anew."""
        self.account_exists = False
        self._due.set()

    def stake_is(self, stake_nano: int) -> None:
        """Set the stake, as the chain has it; the offer names it."""
        if stake_nano != self._stake_nano:
            self._stake_nano = stake_nano
            self._due.set()

    def begin(self) -> None:
        """Make :meth:`first` wait for an offer that is published from now on."""
        self._first.clear()

    async def first(self) -> None:
        """Wait until an offer was published since :meth:`begin`."""
        await self._first.wait()

    async def publish(self, client: RelayClient) -> None:
        """Keep the offer at the relay up to date, until cancelled."""
        while True:
            self._due.clear()
            was = self.published
            try:
                offer = await self._offer(client.node_id)
                await client.publish([] if offer is None else [encode_offer(offer)])
                self.published = offer is not None and self._is_online()
                self._failure = ""
            except IdlewattError as error:
                self._failed(error.line())
            except Exception:
                log.exception("offer_failed")
                self.published = False
            if self.published:
                self._first.set()
            if was != self.published:
                self._on_change()
            await asyncio.sleep(LEAST_REFRESH_S)
            try:
                async with asyncio.timeout(REFRESH_S if self.published else 2 * LEAST_REFRESH_S):
                    await self._due.wait()
            except TimeoutError:
                continue

    def _failed(self, failure: str) -> None:
        """Log the first of many attempts that fail in the same way: an outage must not fill the log."""
        if failure != self._failure:
            log.warning("offer_not_published", error=failure)
        self._failure = failure
        self.published = False

    async def _offer(self, node_id: str) -> Offer | None:
        """The offer as it stands now; ``None`` while nothing can be rented."""
        terms = self._terms()
        if terms is None or self._clock.is_wrong:
            return None
        rollup = await self._chain.rollup(1.0)
        account = self._wallet.unlocked()
        if not self.account_exists:
            await (await self._wallet.service()).ensure_account()
            self.account_exists = True
        host, prices = terms
        info = host.info
        issued_ms = self._clock.now_ms()
        offer = Offer(
            provider=account.address,
            node_id=node_id,
            transport_key=self._transport_key,
            deployment=rollup.deployment,
            model=info.model_name[:96],
            model_sha256=bytes.fromhex(info.model_sha256),
            architecture=info.architecture[:96],
            quantization=info.quantization[:96],
            parameters=info.parameters,
            context_length=info.context_length,
            input_nano_per_mtok=prices.input_nano_per_mtok,
            output_nano_per_mtok=prices.output_nano_per_mtok,
            slots=info.slots,
            free_slots=host.slots.free,
            tokens_per_s_milli=int(self._speed.tokens_per_s * 1000),
            ttft_ms=int(self._speed.ttft_ms),
            min_deposit_nano=self._settings.min_deposit_nano,
            stake_nano=self._stake_nano,
            engine_build=info.engine_build[:200],
            abilities=info.abilities,
            template_tokens=min(info.template_tokens, MAX_TEMPLATE_TOKENS),
            issued_ms=issued_ms,
            expires_ms=issued_ms + VALIDITY_MS,
        )
        return sign_offer(account, rollup.domain, offer)
