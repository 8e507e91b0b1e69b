"""One request on the buyer's side: runs the state machine of ``node.session.buyer`` with link, disk and key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.runtime.deadline import Deadline
from node.session import buyer as machine
from node.session import buyer_io as io
from node.session import messages as m
from node.session.mailbox import Mailbox
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

log = get_logger(__name__)

SEND_TIMEOUT_S: Final = 30.0
MOST_QUEUED_S: Final = 900.0
"""How long a provider may keep a request queued."""
PATIENT_TOKENS: Final = 100
"""A provider may be silent for as long as this many of its tokens take."""


class ResponseTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long the provider may be silent in each stage, scaled to the speed that its offer claims."""

    quote_s: float
    first_token_s: float
    next_token_s: float
    settled_s: float = 10.0

    @classmethod
    def for_speed(cls, tokens_per_s: float, ttft_ms: float, prompt_bytes: int) -> ResponseTimeouts:
        """Deadlines for an offer: a slow machine gets more time, within limits."""
        token_s = 1 / tokens_per_s if tokens_per_s > 0 else 1.0
        return cls(
            quote_s=30.0 + prompt_bytes / 20_000,
            # Prompts are read many tokens at a time: at worst as slowly as two bytes a token decode.
            first_token_s=60.0 + 5 * ttft_ms / 1000 + min(1_800.0, prompt_bytes / 8 * token_s),
            next_token_s=20.0 + PATIENT_TOKENS * token_s,
        )


class BuyerSession:
    """Runs one request to its end.

    Args:
        mailbox: The provider's messages on the open link. The caller closes the link.
        terms: What is known of channel and provider.
        ask: The request.
        sign: Saves a cumulative amount, then signs the voucher.
        adopt: Saves that a voucher with our own signature exists.
        keep: Saves a checked receipt.
        report: Called with the quote, the place in the queue, text and the outcome. Waiting in it slows the
            provider down.
        timeouts: Deadlines.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        terms: machine.BuyerTerms,
        ask: m.Ask,
        *,
        sign: Callable[[int], Awaitable[Voucher]],
        adopt: Callable[[Voucher], Awaitable[None]],
        keep: Callable[[Receipt], Awaitable[None]],
        report: Callable[[io.ReportProgress, machine.BuyerState], Awaitable[None]],
        timeouts: ResponseTimeouts,
    ) -> None:
        self._mailbox = mailbox
        self._sign = sign
        self._adopt = adopt
        self._keep = keep
        self._report = report
        self._timeouts = timeouts
        self.state, self._first = machine.start(terms, ask)
        self.outcome: io.Finished | io.Failed | None = None
        self.settled = False
        self.was_heard = False
        """Whether the provider said anything."""
        self._keeping: asyncio.Task[None] | None = None
        self._cancelled = False
        self._cancel_due = False
        self._gone = False
        self._is_silent = False
        self._queued_at_s: float | None = None
        self._advanced_s = 0.0
        """When it last got on; what changes nothing, though said again and again, doesn't count."""

    def cancel(self) -> None:
        """Ask the provider to stop; what was delivered is paid and receipted."""
        if not self._cancelled:
            self._cancelled = self._cancel_due = True
            self._mailbox.wake.set()

    async def run(self) -> io.Finished | io.Failed:
        """Ask, receive, pay; returns how it ended."""
        deadline = Deadline(self._note_silence)
        try:
            await self._perform(self._first)
            self._advanced_s = asyncio.get_running_loop().time()
            while self.outcome is None:
                await self._feed(await self._next(deadline))
                if self.outcome is None and self._left_s() < 0:
                    await self._feed(io.ProviderSilent())
        finally:
            deadline.close()
            if self._keeping is not None:
                await self._keeping
        return self.outcome

    async def _next(self, deadline: Deadline) -> io.Event:
        wake = self._mailbox.wake
        if (event := self._at_hand()) is not None:
            return event
        self._is_silent = False
        deadline.begin(max(0.0, self._left_s()))
        while event is None:
            wake.clear()
            await wake.wait()
            event = self._at_hand() or (io.ProviderSilent() if self._is_silent else None)
        deadline.end()
        return event

    def _note_silence(self) -> None:
        self._is_silent = True
        self._mailbox.wake.set()

    def _at_hand(self) -> io.Event | None:
        if self._cancel_due:
            # Before the text that was read ahead, because the reader wants no more.
            self._cancel_due = False
            return io.CancelRequested()
        try:
            message = self._mailbox.take()
        except m.MessageError as error:
            return io.PeerGone("protocol", error.message)
        except IdlewattError as error:
            return io.PeerGone(error.wire_code, error.message)
        if message is None:
            return None
        self.was_heard = True
        return io.Received(message)

    def _left_s(self) -> float:
        """How much longer the request may stay where it is."""
        return self._advanced_s + self._timeout_s() - asyncio.get_running_loop().time()

    def _timeout_s(self) -> float:
        match self.state.stage:
            case machine.Stage.ASKED:
                return self._timeouts.quote_s
            case machine.Stage.QUOTED if self._queued_at_s is not None:
                left_s = self._queued_at_s + MOST_QUEUED_S - asyncio.get_running_loop().time()
                return max(0.0, min(left_s, self._timeouts.first_token_s))
            case machine.Stage.QUOTED:
                return self._timeouts.first_token_s
            case machine.Stage.PAYING:
                return self._timeouts.settled_s
            case _:
                return self._timeouts.next_token_s

    async def _feed(self, event: io.Event) -> None:
        pending = deque([event])
        while pending and self.outcome is None:
            event = pending.popleft()
            if self._queued_at_s is None and isinstance(event, io.Received) and isinstance(event.message, m.Queued):
                self._queued_at_s = asyncio.get_running_loop().time()
            if isinstance(event, io.Received) and isinstance(event.message, m.Settled):
                self.settled = event.message.cumulative_nano >= self.state.signed_nano
            before, (self.state, actions) = self.state, machine.step(self.state, event)
            pending.extend(await self._perform(actions))
            if _has_advanced(event, before, self.state):
                self._advanced_s = asyncio.get_running_loop().time()

    async def _perform(self, actions: tuple[io.Action, ...]) -> list[io.Event]:
        answers: list[io.Event] = []
        for action in actions:
            answer = await self._run(action)
            if answer is not None:
                answers.append(answer)
        return answers

    async def _run(self, action: io.Action) -> io.Event | None:
        match action:
            case io.Send(message):
                await self._send(message)
            case io.SignVoucher(cumulative_nano):
                try:
                    return io.Signed(await self._sign(cumulative_nano))
                except IdlewattError as error:
                    return io.SigningFailed(error.wire_code, error.message, error.fix)
            case io.AdoptVoucher(voucher):
                try:
                    await self._adopt(voucher)
                except IdlewattError as error:
                    return io.SigningFailed(error.wire_code, error.message, error.fix)
            case io.KeepReceipt(receipt):
                # In the background, while the voucher for it is signed and sent.
                self._keeping = asyncio.create_task(self._write_down(receipt), name="keep a receipt")
            case io.ReportProgress():
                await self._report(action, self.state)
            case io.Finished() | io.Failed():
                self.outcome = action
        return None

    async def _write_down(self, receipt: Receipt) -> None:
        try:
            await self._keep(receipt)
        except IdlewattError as error:
            log.error("receipt_not_saved", error=error.line())

    async def _send(self, message: m.Message) -> None:
        if self._gone:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._mailbox.link.send(message)
        except m.MessageError:
            raise
        except (IdlewattError, TimeoutError):
            # The mailbox ends as well, after what arrived before.
            self._gone = True


def _has_advanced(event: io.Event, before: machine.BuyerState, after: machine.BuyerState) -> bool:
    """Whether the request got on. Being queued counts, because a queue has a limit of its own."""
    if isinstance(event, io.CancelRequested):
        return True
    if isinstance(event, io.Received) and isinstance(event.message, m.Queued):
        return True
    was = (before.stage, before.output_bytes, before.signed_nano)
    return was != (after.stage, after.output_bytes, after.signed_nano)
