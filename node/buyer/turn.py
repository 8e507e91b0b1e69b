"""One chat turn: the events that its reader gets, its job, and its cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from node.buyer.channels import OutgoingChannel
from node.buyer.deposit import limit_of
from node.buyer.session import BuyerSession
from node.market.offers import Offer
from node.runtime.jobs import JobRegistry, ended, now_ms, receipt_view
from node.session import buyer as machine
from node.session import buyer_io as io
from node.session import messages as m
from node.store.records import BuyerChannel
from node.values import (
    ChatDelta,
    ChatDone,
    ChatEvent,
    ChatFailed,
    ChatQuote,
    ChatStage,
    ChatTurn,
    JobStage,
    JobView,
)
from node.values.inference import TokenLogprob
from wallet.addresses import checksum_address

Stage = Literal["choosing", "connecting", "opening_channel", "asking", "queued", "prefill"]


class TurnView:
    """Emits a turn's events.

    Args:
        turn: What was asked.
        emit: Takes each event; waits while the reader is slow, which slows the provider down.
    """

    def __init__(self, turn: ChatTurn, emit: Callable[[ChatEvent], Awaitable[None]]) -> None:
        self.turn = turn
        self.failure: io.Failed | None = None
        self._cancelled = asyncio.Event()
        self.delivered = False
        """Whether a token came: from then on no other offer is tried."""
        self.fees_nano = 0
        """What opening channels and topping them up cost for this turn."""
        self._emit = emit
        self._session: BuyerSession | None = None
        self._ask: m.Ask | None = None
        self._offer: Offer | None = None
        self._channel: OutgoingChannel | None = None
        self._jobs: JobRegistry | None = None
        self._job: JobView | None = None
        self._began_s = time.monotonic()
        self._asked_s = 0.0
        self._first_s = 0.0
        self._last_s = 0.0
        self._first_tokens = 0
        self._thinking_tokens = 0
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._markers = ""

    @property
    def is_asking(self) -> bool:
        """Whether a provider was asked, so that the turn ends with a receipt or a reason."""
        return self._session is not None

    @property
    def cancelled(self) -> bool:
        """Whether the person wants no more of it."""
        return self._cancelled.is_set()

    async def is_cancelled_within(self, seconds: float) -> bool:
        """Wait for so long, or until it is cancelled."""
        try:
            async with asyncio.timeout(seconds):
                return await self._cancelled.wait()
        except TimeoutError:
            return False

    @property
    def spendable_nano(self) -> int | None:
        """What is left of the person's limit; ``None`` without a limit."""
        limit = self.turn.max_spend_nano
        return None if limit is None else max(0, limit - self.fees_nano)

    def cancel(self) -> None:
        """Cancel the turn."""
        self._cancelled.set()
        if self._session is not None:
            self._session.cancel()

    async def stage(self, stage: Stage, detail: str) -> None:
        """Tell a stage before the first token."""
        await self._emit(ChatStage(stage=stage, detail=detail))

    async def fail(self, failure: io.Failed, cost_nano: int = 0) -> None:
        """End the turn without a full answer."""
        await self._emit(
            ChatFailed(
                code=failure.code or "failed",
                message=failure.message or "The provider gave up.",
                fix=failure.fix,
                cost_nano=cost_nano,
                retry_after_ms=failure.retry_after_ms,
            )
        )

    def begin(self, ask: m.Ask, offer: Offer, channel: OutgoingChannel, jobs: JobRegistry) -> None:
        """Start the job: a provider is about to be asked."""
        self._ask, self._offer, self._channel, self._jobs = ask, offer, channel, jobs
        self._asked_s, self._first_s, self._last_s, self._first_tokens = time.monotonic(), 0.0, 0.0, 0
        self._thinking_tokens, self._logprobs, self._markers = 0, (), ""
        self._job = JobView(
            job_id=ask.request_id,
            role="buyer",
            model=offer.model,
            peer=checksum_address(offer.provider),
            stage=JobStage.QUEUED,
            channel_id=channel.channel_id,
            input_tokens=0,
            output_tokens=0,
            tokens_per_s=0.0,
            amount_nano=0,
            exposure_nano=0,
            credit_window_nano=0,
            started_ms=now_ms(),
            finished_ms=None,
        )
        jobs.update(self._job)

    def attach(self, session: BuyerSession) -> None:
        """Set the session that a cancellation ends."""
        self._session = session
        if self.cancelled:
            session.cancel()

    async def report(self, report: io.ReportProgress, state: machine.BuyerState) -> None:
        """Pass on what the session reports."""
        match report.message:
            case m.Quote() as quote:
                self._update(state, JobStage.PREFILL)
                await self._emit(self._quote(quote))
                await self.stage("prefill", f"Reading {quote.input_tokens} tokens.")
            case m.Queued(position=position, eta_ms=eta_ms):
                self._update(state, JobStage.QUEUED)
                await self.stage("queued", queue_place(position, eta_ms))
            case m.Delta() as delta:
                self.delivered = True
                self._last_s = time.monotonic()
                if not self._first_s:
                    self._first_s, self._first_tokens = self._last_s, state.output_tokens
                self._update(state, JobStage.STREAMING)
                self._logprobs += delta.logprobs
                self._thinking_tokens += delta.tokens if delta.thinking else 0
                if delta.marker:
                    self._markers += delta.text
                else:
                    await self._show(delta.text, state, thinking=delta.thinking)

    async def _show(self, text: str, state: machine.BuyerState, *, thinking: bool) -> None:
        """Emit text as the model wrote it. Log-probabilities and markers go with the next text."""
        if text or self._logprobs or self._markers:
            logprobs, self._logprobs = self._logprobs, ()
            markers, self._markers = self._markers, ""
            await self._emit(
                ChatDelta(
                    text=text,
                    output_tokens=state.output_tokens,
                    spent_nano=state.bill_nano,
                    thinking=thinking,
                    markers=markers,
                    logprobs=logprobs,
                )
            )

    async def abandon(self, jobs: JobRegistry) -> None:
        """Drop the job: this provider delivered nothing, and another may be tried."""
        self._session = None
        jobs.drop(self._job)
        self._job = None

    async def conclude(
        self, session: BuyerSession, outcome: io.Finished | io.Failed, record: BuyerChannel, jobs: JobRegistry
    ) -> None:
        """End the turn with its outcome, and save the job."""
        state = session.state
        await self._show("", state, thinking=True)
        self._update(state, JobStage.STREAMING)
        job = self._job
        assert job is not None
        assert self._offer is not None
        if isinstance(outcome, io.Failed):
            finished = ended(job, code=outcome.code, error=outcome.message, receipt=outcome.receipt)
            await jobs.finish(finished, self._offer.provider, outcome.code)
            await self.fail(outcome, state.cost_nano)
            return
        code = "cancelled" if outcome.reason == "cancelled" else ""
        await jobs.finish(ended(job, code=code, receipt=outcome.receipt), self._offer.provider, outcome.reason)
        now_s = time.monotonic()
        await self._emit(
            ChatDone(
                job_id=job.job_id,
                reason=outcome.reason,
                input_tokens=outcome.receipt.input_tokens,
                output_tokens=state.output_tokens,
                thinking_tokens=self._thinking_tokens,
                cost_nano=state.cost_nano,
                deposit_left_nano=record.unsigned_nano,
                ttft_ms=1000 * ((self._first_s or now_s) - self._asked_s),
                tokens_per_s=job.tokens_per_s,
                total_ms=1000 * (now_s - self._began_s),
                receipt=receipt_view(outcome.receipt),
            )
        )

    def _quote(self, quote: m.Quote) -> ChatQuote:
        assert self._ask is not None
        assert self._offer is not None
        assert self._channel is not None
        assert self._job is not None
        return ChatQuote(
            job_id=self._job.job_id,
            model=self._job.model,
            model_sha256=self._offer.model_sha256.hex(),
            provider=self._job.peer,
            channel_id=self._channel.channel_id,
            input_tokens=quote.input_tokens,
            max_output_tokens=quote.max_output_tokens,
            ceiling_nano=quote.ceiling_nano,
            prices=quote.prices,
            limited_by=limit_of(self._ask, quote, self.turn, self._channel.record.unsigned_nano),
        )

    def _update(self, state: machine.BuyerState, stage: JobStage) -> None:
        assert self._job is not None
        # Decoding speed alone: neither the prompt's time nor the settlement's, and the first chunk starts the clock.
        elapsed_s = self._last_s - self._first_s
        self._job = msgspec.structs.replace(
            self._job,
            stage=stage,
            input_tokens=state.quote.input_tokens if state.quote else 0,
            output_tokens=state.output_tokens,
            tokens_per_s=(state.output_tokens - self._first_tokens) / elapsed_s if elapsed_s > 0.001 else 0.0,
            amount_nano=state.cost_nano,
            exposure_nano=max(0, state.base_nano + state.bill_nano - state.signed_nano),
        )
        if self._jobs is not None:
            self._jobs.update(self._job)


MOST_SHOWN_WAIT_S = 24 * 3_600


def queue_place(position: int, eta_ms: int) -> str:
    """A waiting request's place, as in "2nd in the queue, about 14 s."; both numbers are claims of the provider."""
    if position < 1:
        return "Next in the queue."
    wait_s = min(MOST_SHOWN_WAIT_S, -(-eta_ms // 1000))
    minutes, seconds = divmod(wait_s, 60)
    about = f"{wait_s} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
    place = f"{ordinal(position)} in the queue"
    return f"{place}, about {about}." if seconds or minutes else f"{place}."


def ordinal(number: int) -> str:
    """The number as a place: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
