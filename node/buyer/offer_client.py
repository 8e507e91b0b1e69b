"""Asking one offer: a connection and a channel, the session on both, and what the answer leaves behind."""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Final

from chain.errors import ErrorCode, IdlewattError
from chain.logs import get_logger
from node.buyer.channels import OutgoingChannel, OutgoingChannels
from node.buyer.connection_pool import ConnectionPool, ProviderConnection
from node.buyer.deposit import ChannelNeed, answer_budget_nano, wanted_output_tokens
from node.buyer.session import BuyerSession, ResponseTimeouts
from node.buyer.settlement import Settlement
from node.buyer.turn import TurnView
from node.market.offers import Offer
from node.rollup.monitor import RollupMonitor
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry
from node.session import buyer as machine
from node.session import buyer_io as io
from node.session import messages as m
from node.store.store import Store
from node.values import OfferView
from node.values.inference import content_bytes
from wallet.addresses import checksum_address
from wallet.receipts import Receipt

log = get_logger(__name__)

CHANNEL_REFUSED: Final[frozenset[ErrorCode]] = frozenset(
    {"unknown_channel", "channel_closing", "channel_expiring", "unpaid"}
)
"""The channel was refused, not the request: the same offer is asked again through another channel."""


class OfferClient:
    """Asks one offer.

    Args:
        chain: The rollup.
        store: Channels and receipts.
        jobs: Where jobs are shown and kept.
        events: Where events go.
        channels: What is paid through.
        connections: What is asked through.
        settlement: Pays later what a broken session left unpaid.
    """

    def __init__(
        self,
        chain: RollupMonitor,
        store: Store,
        jobs: JobRegistry,
        events: EventBus,
        channels: OutgoingChannels,
        connections: ConnectionPool,
        settlement: Settlement,
    ) -> None:
        self._chain = chain
        self._store = store
        self._jobs = jobs
        self._events = events
        self._channels = channels
        self._connections = connections
        self._settlement = settlement

    async def ask(self, view: TurnView, offer: Offer, chosen: OfferView, need: ChannelNeed) -> io.Failed | None:
        """Ask one offer; ``None`` when the turn is over, else why it failed before anything was delivered."""
        await view.stage("connecting", f"Connecting to {chosen.provider}.")
        connecting = asyncio.create_task(self._connections.acquire(offer), name="connect")

        async def about_to_open(text: str) -> None:
            # No deposit goes into a channel with a provider that can't be reached.
            await connecting
            await view.stage("opening_channel", text)

        try:
            async with self._channels.reserve(need, about_to_open) as channel:
                view.fees_nano += channel.fee_nano
                connection = await connecting
                failure = await self._ask_through(view, connection, offer, channel, need)
                if failure is None or view.cancelled or not connection.is_lost:
                    return failure
                # A kept connection can have ended unnoticed. That says nothing about the provider.
                return await self._ask_anew(view, offer, channel, need)
        except (IdlewattError, TimeoutError) as error:
            return failed(error)
        finally:
            await self._release(connecting)

    async def _release(self, connecting: asyncio.Task[ProviderConnection]) -> None:
        """Release the connection, or stop making it."""
        connecting.cancel()
        (connection,) = await asyncio.gather(connecting, return_exceptions=True)
        if isinstance(connection, ProviderConnection):
            await self._connections.release(connection)

    async def _ask_anew(
        self, view: TurnView, offer: Offer, channel: OutgoingChannel, need: ChannelNeed
    ) -> io.Failed | None:
        connection = await self._connections.connect(offer)
        try:
            return await self._ask_through(view, connection, offer, channel, need)
        finally:
            await self._connections.release(connection)

    async def _ask_through(
        self,
        view: TurnView,
        connection: ProviderConnection,
        offer: Offer,
        channel: OutgoingChannel,
        need: ChannelNeed,
    ) -> io.Failed | None:
        rollup = await self._chain.rollup(1.0)
        record, turn, spendable = channel.record, view.turn, view.spendable_nano
        longest = offer.context_length if turn.max_tokens is None else turn.max_tokens
        ask = m.Ask(
            request_id=secrets.token_hex(12),
            channel_id=channel.channel_id,
            model_sha256=offer.model_sha256,
            messages=turn.messages,
            max_tokens=max(1, min(longest, m.MAX_OUTPUT_TOKENS)),
            prices=offer.prices,
            max_cost_nano=answer_budget_nano(need, turn, record.unsigned_nano, spendable),
            sampling=turn.sampling,
            stop=turn.stop,
            logprobs=turn.logprobs,
            response_format=turn.response_format,
            template_options=turn.template_options,
            voucher=await self._channels.voucher_so_far(channel),
        )
        problem = m.ask_problem(ask)
        if problem:
            raise IdlewattError(problem, code="bad_request", fix="Change the request.")
        terms = machine.BuyerTerms(
            domain=rollup.domain,
            provider=offer.provider,
            signer=record.signer,
            deposit_nano=record.deposit_nano,
            signed_nano=record.signed_nano,
            wanted_output_tokens=wanted_output_tokens(need, record.unsigned_nano, spendable),
            template_tokens=offer.template_tokens,
        )
        prompt_bytes = content_bytes(turn.messages)
        view.begin(ask, offer, channel, self._jobs)
        session = BuyerSession(
            connection.mailbox,
            terms,
            ask,
            sign=lambda amount: self._channels.sign(channel, amount),
            adopt=lambda voucher: self._adopt(channel, voucher.cumulative_nano),
            keep=lambda receipt: self._keep_receipt(receipt, offer),
            report=view.report,
            timeouts=ResponseTimeouts.for_speed(offer.tokens_per_s_milli / 1000, offer.ttft_ms, prompt_bytes),
        )
        await view.stage("asking", f"Asking {offer.model}.")
        view.attach(session)
        connection.is_clean = False
        try:
            outcome = await session.run()
        except BaseException:
            await view.abandon(self._jobs)
            raise
        connection.record_outcome(outcome, was_heard=session.was_heard, is_settled=session.settled)
        if isinstance(outcome, io.Failed) and not session.state.output_tokens:
            # An engine that failed before its first token has a receipt over nothing: another offer may do better.
            if outcome.code in CHANNEL_REFUSED:
                self._channels.avoid(channel.channel_id)
            await view.abandon(self._jobs)
            return outcome
        await self._conclude(view, session, outcome, offer, channel)
        return None

    async def _adopt(self, channel: OutgoingChannel, cumulative_nano: int) -> None:
        await self._store.raise_signed(channel.channel_id, cumulative_nano)

    async def _conclude(
        self,
        view: TurnView,
        session: BuyerSession,
        outcome: io.Finished | io.Failed,
        offer: Offer,
        channel: OutgoingChannel,
    ) -> None:
        record = await self._store.buyer_channel(channel.channel_id) or channel.record
        if not session.settled and session.state.cost_nano:
            self._settlement.settle_later(offer, record)
        await view.conclude(session, outcome, record, self._jobs)
        self._events.changed("wallet")

    async def _keep_receipt(self, receipt: Receipt, offer: Offer) -> None:
        if await self._store.save_receipt("buyer", receipt) is not None:
            log.error("conflicting_receipt_received", channel=receipt.channel_id, sequence=receipt.sequence)
            self._events.notice("error", f"{checksum_address(offer.provider)} signed two receipts for one request.")


def failed(error: IdlewattError | TimeoutError) -> io.Failed:
    """An error of this side, or one that a peer caused, as the end of a request."""
    if isinstance(error, IdlewattError):
        retry_after_ms = math.ceil(1000 * (error.retry_after_s or 0))
        return io.Failed(
            error.wire_code,
            error.message,
            error.fix,
            is_theirs=bool(error.peer_code),
            retry_after_ms=retry_after_ms,
        )
    return io.Failed("provider_silent", "The provider did not answer in time.", "Ask again, or choose another offer.")
