"""Settles with providers outside a request: sends vouchers again that a broken session lost, closes channels."""

from __future__ import annotations

import asyncio
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.buyer.channels import OutgoingChannels
from node.buyer.connection_pool import ConnectionPool
from node.buyer.limits import BuyerLimits
from node.buyer.offer_reader import OfferReader
from node.market.offers import Offer
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.runtime.events import EventBus
from node.session import messages as m
from node.store.records import BuyerChannel, ChannelState
from node.store.store import Store
from wallet.wallet_error import WalletError

log = get_logger(__name__)

ANSWER_TIMEOUT_S: Final = 20.0


class Settlement:
    """Settles what is open with providers, and closes channels.

    Args:
        connections: Connects to providers.
        offer_reader: Finds a provider's newest offer.
        channels: The channels paid through.
        wallet: Closes channels.
        chain: The rollup.
        store: Channel states.
        events: Where events go.
        limits: The pauses between attempts.
    """

    def __init__(
        self,
        connections: ConnectionPool,
        offer_reader: OfferReader,
        channels: OutgoingChannels,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        events: EventBus,
        limits: BuyerLimits,
    ) -> None:
        self._limits = limits
        self._connections = connections
        self._markets = offer_reader
        self._channels = channels
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._events = events
        self._settling: set[asyncio.Task[None]] = set()

    def settle_later(self, offer: Offer, record: BuyerChannel) -> None:
        """Send the channel's newest voucher again, a little later and a few times."""
        task = asyncio.create_task(self._settle(offer, record), name="settle")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, offer: Offer, record: BuyerChannel) -> None:
        """Send the newest voucher again. If that fails too, the next request on the channel carries it."""
        for pause_s in self._limits.settle_pauses_s:
            await asyncio.sleep(pause_s)
            try:
                voucher = await self._channels.newest_voucher(record)
                if voucher is None:
                    return
                answer = await self._say(offer, m.Pay(voucher=voucher))
                log.info("channel_settled_late", channel=record.channel_id, answer=type(answer).__name__)
                return
            except (IdlewattError, TimeoutError) as error:
                log.info("channel_not_settled", channel=record.channel_id, error=str(error))

    async def _say(self, offer: Offer, message: m.Message) -> m.Message:
        """Open a session, send one message, and return the answer."""
        link = await self._connections.open_link(offer)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await link.send(message)
                answer = await link.receive()
        finally:
            await link.close("done")
        if isinstance(answer, m.Fault):
            raise _peer_error(answer.code, answer.message, answer.fix)
        return answer

    async def close(self, channel_id: int, *, alone: bool) -> str:
        """Close a channel this node pays through; returns the L2 transaction.

        Raises:
            IdlewattError: ``bad_channel`` if it is not ours; ``peer_away`` if together and the provider is not there.
        """
        record = await self._store.buyer_channel(channel_id)
        if record is None:
            raise WalletError("That channel is not paid by this wallet.", code="bad_channel", fix="List the open ones.")
        service = await self._wallet.service()
        if alone:
            receipt = await service.start_close(channel_id, record.signer)
            await self._store.set_buyer_channel_state(channel_id, ChannelState.CLOSING)
            self._events.changed("wallet")
            return receipt.l2_tx
        agreed = await self._agree(record)
        if agreed.cumulative_nano > record.signed_nano:
            raise WalletError("The provider wants to close above what was signed.", code="overbilled")
        receipt = await service.close_together(channel_id, agreed.cumulative_nano, agreed.signature)
        await self._store.record_paid_out(channel_id, agreed.cumulative_nano)
        await self._store.set_buyer_channel_state(channel_id, ChannelState.CLOSED)
        await self._wallet.drop_voucher_key(record.signer)
        self._events.changed("wallet")
        return receipt.l2_tx

    async def _agree(self, record: BuyerChannel) -> m.CloseSignature:
        market = await self._markets.read(mine=self._wallet.address, fresh=True)
        offer = next((offer for offer in market.offers.values() if offer.provider == record.provider), None)
        fix = "Close it alone instead; the rest comes back after the delay."
        if offer is None:
            raise IdlewattError("That provider is not on the relay now.", code="peer_away", fix=fix)
        assert record.channel_id is not None
        voucher = await self._channels.newest_voucher(record)
        try:
            answer = await self._say(offer, m.CloseRequest(channel_id=record.channel_id, voucher=voucher))
        except TimeoutError:
            raise IdlewattError("The provider did not answer.", code="peer_away", fix=fix) from None
        if not isinstance(answer, m.CloseSignature) or answer.channel_id != record.channel_id:
            raise IdlewattError("The provider did not agree to close.", code="peer_away", fix=fix)
        return answer

    async def finish_closes(self) -> None:
        """End channels that expired or whose close delay is over, and take the rest back."""
        for record in await self._store.buyer_channels(live_only=True):
            if record.channel_id is None:
                continue
            is_over = record.expiry_s <= self._chain.now_s()
            if record.state is not ChannelState.CLOSING and not is_over:
                continue
            view = await self._chain.channel(record.channel_id, fresh=True)
            if view is None or min(view.expiry_s, view.closing_at_s or view.expiry_s) > self._chain.now_s():
                continue
            try:
                # Nothing can be redeemed any more, and once it has ended the chain no longer tells what was.
                await self._store.record_paid_out(record.channel_id, view.redeemed_nano)
                await (await self._wallet.service()).expire(record.channel_id)
                log.info("channel_ended", channel=record.channel_id)
            except IdlewattError as error:
                if error.code not in {"too_early", "wallet_locked"}:
                    log.warning("channel_not_ended", channel=record.channel_id, error=error.line())

    async def stop(self) -> None:
        """Stop all attempts that still run."""
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)


def _peer_error(code: str, message: str, fix: str) -> IdlewattError:
    """A peer's coded error as one of ours, with plain text."""
    return IdlewattError(message or "The provider refused.", peer_code=code, fix=fix)
