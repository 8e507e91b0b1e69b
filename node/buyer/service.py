"""Buying: from a question to a paid answer with a receipt. Another offer is tried until the first token came."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chain.errors import ErrorCode, IdlewattError
from chain.logs import get_logger
from node.buyer.channels import OutgoingChannel, OutgoingChannels
from node.buyer.connection_pool import ConnectionPool, ProviderConnection
from node.buyer.deposit import (
    ChannelNeed,
    answer_budget_nano,
    counted_need,
    estimated_need,
    over_the_limit,
    wanted_output_tokens,
)
from node.buyer.limits import BuyerLimits
from node.buyer.offer_reader import OfferReader, VerifiedOffers
from node.buyer.session import BuyerSession, ResponseTimeouts
from node.buyer.settlement import Settlement
from node.buyer.turn import TurnView
from node.market.choice import candidates
from node.market.offers import Offer
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry
from node.runtime.relay_connection import RelayConnection
from node.session import buyer as machine
from node.session import buyer_io as io
from node.session import messages as m
from node.store.store import Store
from node.values import ChatEvent, ChatTurn, OfferView
from wallet.addresses import checksum_address
from wallet.receipts import Receipt

log = get_logger(__name__)

ATTEMPTS: Final = 3
"""Offers tried for one turn, as long as no token has come."""
EVENTS_WAITING: Final = 256
CANCEL_TIMEOUT_S: Final = 15.0
BUSY_PAUSE_S: Final = 0.5
LEAST_BUSY_WAIT_S: Final = 1.0
"""A busy provider that says less is asked again after this."""

CHANNEL_REFUSED: Final[frozenset[ErrorCode]] = frozenset(
    {"unknown_channel", "channel_closing", "channel_expiring", "unpaid"}
)
"""The channel was refused, not the request: the same offer is asked again through another channel."""

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


class BuyerService:
    """Buys answers.

    Args:
        relay: A connection under a throwaway identity, so that the relay never learns who buys.
        wallet: Pays.
        chain: The rollup.
        store: Channels, receipts, jobs.
        jobs: Where jobs are shown and kept.
        events: Where events go.
        limits: How long others are waited for.
    """

    def __init__(
        self,
        relay: RelayConnection,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        jobs: JobRegistry,
        events: EventBus,
        *,
        limits: BuyerLimits,
    ) -> None:
        self._limits = limits
        self._relay = relay
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._jobs = jobs
        self._events = events
        self.offer_reader = OfferReader(relay, chain, limits)
        self.channels = OutgoingChannels(wallet, chain, store, lambda: events.changed("wallet"))
        self.connections = ConnectionPool(relay, limits)
        self.settlement = Settlement(
            self.connections, self.offer_reader, self.channels, wallet, chain, store, events, limits
        )
        self._reconcile_due = asyncio.Event()

    async def market(self) -> tuple[OfferView, ...]:
        """Verified offers, best first.

        Raises:
            IdlewattError: If relay or chain can't be reached.
        """
        return (await self.offer_reader.read(mine=self._wallet.address, fresh=True)).views

    @asynccontextmanager
    async def chat(self, turn: ChatTurn) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        """One turn; see ``NodeApi.chat``."""
        waiting: asyncio.Queue[ChatEvent | None] = asyncio.Queue(EVENTS_WAITING)
        view = TurnView(turn, waiting.put)
        task = asyncio.create_task(self._turn_to_end(view, waiting), name="chat turn")

        async def events() -> AsyncIterator[ChatEvent]:
            while (event := await waiting.get()) is not None:
                yield event

        try:
            yield events()
        finally:
            view.cancel()
            await _wind_up(view, task, waiting)

    async def run(self) -> None:
        """Reconcile channels with the chain, again and again, until cancelled."""
        try:
            while True:
                self._reconcile_due.clear()
                try:
                    if self._chain.reachable:
                        await self.channels.reconcile()
                        await self.settlement.finish_closes()
                except IdlewattError as error:
                    log.warning("channels_not_reconciled", error=error.line())
                try:
                    async with asyncio.timeout(self._limits.reconcile_s):
                        await self._reconcile_due.wait()
                except TimeoutError:
                    continue
        finally:
            await self.settlement.stop()
            await self.connections.close()

    def reconcile_soon(self) -> None:
        """Compare the channels with the chain now: it came back, or the wallet was unlocked."""
        self._reconcile_due.set()

    # One turn

    async def _turn_to_end(self, view: TurnView, waiting: asyncio.Queue[ChatEvent | None]) -> None:
        try:
            await self._turn(view)
        except IdlewattError as error:
            await view.fail(_failed(error))
        except TimeoutError as error:
            await view.fail(_failed(error))
        except Exception:
            log.exception("chat_turn_failed")
            await view.fail(
                io.Failed("internal", "Something went wrong in this node; its log says what.", "Try again.")
            )
        finally:
            await waiting.put(None)

    async def _turn(self, view: TurnView) -> None:
        left_s = self._limits.busy_wait_s
        while True:
            await view.stage("choosing", "Choosing an offer.")
            retry_after_s = await self._try_offers(view)
            if view.failure is None:
                return
            if retry_after_s is None or retry_after_s > left_s or view.cancelled or view.delivered:
                break
            left_s -= retry_after_s
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
        market = await self.offer_reader.read(mine=self._wallet.address)
        view.failure = None
        for attempt in range(ATTEMPTS):
            try:
                chosen = _choose(market, turn, failed)
            except IdlewattError:
                if attempt:
                    break
                # The last reading may be stale: the offer may have come since.
                market = await self.offer_reader.read(mine=self._wallet.address, fresh=True)
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
                self.reconcile_soon()
            elif failure.code == "channel_busy":
                await asyncio.sleep(BUSY_PAUSE_S)
            else:
                failed |= {chosen.offer_id}
                self.offer_reader.forget()
        return retry_after_s

    async def _try_offer(self, view: TurnView, offer: Offer, chosen: OfferView) -> io.Failed | None:
        """Try one offer, and once more with a deposit by its count of the prompt where the estimate was too low."""
        failure = await self._attempt(view, offer, chosen, estimated_need(offer, view.turn, view.spendable_nano))
        if failure is None or view.cancelled:
            return failure
        need = counted_need(offer, view.turn, failure, view.spendable_nano)
        if need is None:
            return failure
        log.info("deposit_too_small", offer=chosen.offer_id, input_tokens=failure.input_tokens)
        return over_the_limit(need) or await self._attempt(view, offer, chosen, need)

    async def _attempt(self, view: TurnView, offer: Offer, chosen: OfferView, need: ChannelNeed) -> io.Failed | None:
        """Ask one offer; ``None`` when the turn is over, else why it failed before anything was delivered."""
        await view.stage("connecting", f"Connecting to {chosen.provider}.")
        connecting = asyncio.create_task(self.connections.acquire(offer), name="connect")

        async def about_to_open(text: str) -> None:
            # No deposit goes into a channel with a provider that can't be reached.
            await connecting
            await view.stage("opening_channel", text)

        try:
            async with self.channels.reserve(need, about_to_open) as channel:
                view.fees_nano += channel.fee_nano
                connection = await connecting
                failure = await self._ask(view, connection, offer, channel, need)
                if failure is None or view.cancelled or not connection.is_lost:
                    return failure
                # A kept connection can have ended unnoticed. That says nothing about the provider.
                return await self._ask_anew(view, offer, channel, need)
        except (IdlewattError, TimeoutError) as error:
            return _failed(error)
        finally:
            await self._release(connecting)

    async def _release(self, connecting: asyncio.Task[ProviderConnection]) -> None:
        """Release the connection, or stop making it."""
        connecting.cancel()
        (connection,) = await asyncio.gather(connecting, return_exceptions=True)
        if isinstance(connection, ProviderConnection):
            await self.connections.release(connection)

    async def _ask_anew(
        self, view: TurnView, offer: Offer, channel: OutgoingChannel, need: ChannelNeed
    ) -> io.Failed | None:
        connection = await self.connections.connect(offer)
        try:
            return await self._ask(view, connection, offer, channel, need)
        finally:
            await self.connections.release(connection)

    async def _ask(
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
            voucher=await self.channels.voucher_so_far(channel),
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
        )
        prompt_bytes = sum(len(message.content.encode()) for message in turn.messages)
        view.begin(ask, offer, channel, self._jobs)
        session = BuyerSession(
            connection.mailbox,
            terms,
            ask,
            sign=lambda amount: self.channels.sign(channel, amount),
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
                self.channels.avoid(channel.channel_id)
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
            self.settlement.settle_later(offer, record)
        await view.conclude(session, outcome, record, self._jobs)
        self._events.changed("wallet")

    async def _keep_receipt(self, receipt: Receipt, offer: Offer) -> None:
        if await self._store.save_receipt("buyer", receipt) is not None:
            log.error("conflicting_receipt_received", channel=receipt.channel_id, sequence=receipt.sequence)
            self._events.notice("error", f"{checksum_address(offer.provider)} signed two receipts for one request.")


def _choose(market: VerifiedOffers, turn: ChatTurn, failed: frozenset[str]) -> OfferView:
    prompt_bytes = sum(len(message.content.encode()) for message in turn.messages)
    return candidates(
        market.views,
        model=turn.model,
        offer_id=turn.offer_id,
        # Few tokens are longer than eight bytes: less room than this can't be enough. The provider counts exactly.
        context_tokens=prompt_bytes // 8,
        failed=failed,
        unusable=market.unusable,
    )[0]


def _failed(error: IdlewattError | TimeoutError) -> io.Failed:
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


async def _wind_up(view: TurnView, task: asyncio.Task[None], waiting: asyncio.Queue[ChatEvent | None]) -> None:
    """End a turn that has no reader any more: wait a moment for payment and receipt, then cancel it."""
    drain = asyncio.create_task(_drain(waiting))
    try:
        if view.is_asking or task.done():
            await asyncio.wait({task}, timeout=CANCEL_TIMEOUT_S)
    finally:
        # Before a provider was asked nothing is owed. An opening that is interrupted here is found again by its signer.
        drain.cancel()
        task.cancel()
        await asyncio.gather(task, drain, return_exceptions=True)


async def _drain(waiting: asyncio.Queue[ChatEvent | None]) -> None:
    while True:
        await waiting.get()
