"""One request on the provider's side: runs the state machine of ``node.session.provider`` with real inputs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from chain.errors import ErrorCode, IdlewattError
from node.engine.protocol import Chunk, EngineEvent, Finished, GenerateRequest, Started
from node.provider.slots import SlotClaim
from node.relay.circuit import CircuitClosedError
from node.runtime.deadline import Deadline, ending_late_waits
from node.session import messages as m
from node.session import provider as machine
from node.session import provider_io as io
from node.session.mailbox import Mailbox
from node.session.terms import ChannelFacts
from node.values.inference import ChatMessage, TemplateOptions, TokenLogprob
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

ASK_TIMEOUT_S: Final = 20.0
"""How long a buyer that said something may take to say what it wants."""
SEND_TIMEOUT_S: Final = 60.0
WINDOWS_AHEAD: Final = 4
"""How many credit windows of tokens may wait for the session, past which the engine's stream is not read."""
BUFFERED_CHARS: Final = 4_096
"""How many pieces of engine output may wait for the session. Past that the engine's stream is not read."""


class SessionHost(Protocol):
    """What a session needs from the service that runs it; every call raises ``IdlewattError`` when it can't."""

    async def channel_facts(self, channel_id: int) -> ChannelFacts:
        """Read the channel from chain and disk and reserve it for this session."""
        ...

    async def release_channel(self, channel_id: int, *, is_outdated: bool) -> None:
        """Let other sessions use the channel again.

        Args:
            channel_id: The channel's number.
            is_outdated: Whether it must be read afresh next time.
        """
        ...

    async def store_voucher(self, voucher: Voucher) -> None:
        """Put a verified voucher on disk."""
        ...

    async def count(self, messages: tuple[ChatMessage, ...], options: TemplateOptions) -> int:
        """Tokens of a conversation, with these options of the chat template."""
        ...

    def enter(self, payer: bytes) -> SlotClaim:
        """Enter the admission queue, before the quote: where it is full, the buyer goes on to another offer."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Run the engine."""
        ...

    async def issue_receipt(self, facts: io.IssueReceipt) -> Receipt:
        """Number, sign and store a receipt."""
        ...

    async def agree_close(self, channel_id: int) -> tuple[int, bytes]:
        """Redeem the best voucher and sign the close at the redeemed amount."""
        ...

    def engine_timeout_s(self) -> float:
        """How long the engine may say nothing, on this hardware."""
        ...


class ProviderSession:
    """Runs one request to its end, or a late payment, or an agreement to close.

    Args:
        mailbox: What the buyer says on the open link, which whoever made this session closes.
        policy: What this provider offers.
        is_regular: Whether the buyer has been served, and has paid, in this session before. Its prompt is counted while
            its channel is looked at; a stranger's only when it turned out that somebody may pay for it.
        host: The service behind it.
        on_change: Told the state after every step, for the screens.
        payment_timeout_s: How long the buyer may take to pay for what it received.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        policy: machine.ProviderPolicy,
        host: SessionHost,
        on_change: Callable[[machine.ProviderState], None],
        *,
        is_regular: bool = False,
        payment_timeout_s: float,
    ) -> None:
        self._payment_timeout_s = payment_timeout_s
        self._mailbox = mailbox
        self._host = host
        self._on_change = on_change
        self._is_regular = is_regular
        self._counting: asyncio.Task[int] | None = None
        self.state = machine.start(policy)
        self.end: io.EndRequest | None = None
        self.rejections: list[str] = []
        self.receipt: Receipt | None = None
        self._events: deque[io.Event] = deque()
        self._wake = mailbox.wake
        self._chunks: deque[Chunk] = deque()
        self._chars = 0
        self._engine_end: io.EngineEnded | None = None
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._engine_task: asyncio.Task[None] | None = None
        self._payment_timer: asyncio.TimerHandle | None = None
        self._deadline: Deadline | None = None
        self._reserved: int | None = None
        self._place: SlotClaim | None = None

    @property
    def is_answering(self) -> bool:
        """Whether the engine works for it, or is about to."""
        return self.state.stage is machine.Stage.RUNNING

    @property
    def was_taken(self) -> bool | None:
        """Whether its buyer paid for what the prompt was processed for, or left before the first token.

        ``None`` where it can't be blamed: no prompt was processed, or the provider failed.
        """
        state, end = self.state, self.end
        if end is None or not state.max_output_tokens or (state.ended is not None and state.ended.reason == "failed"):
            return None
        if state.output_tokens:
            return True if end.is_settled else None
        return False if end.code == "cancelled" or not end.is_settled else None

    def stop(self, code: ErrorCode, message: str) -> None:
        """End what runs as failed: what was delivered is paid, nothing else. A session that settles is left to it."""
        if self.state.stage is machine.Stage.RUNNING:
            if self._engine_task is not None:
                self._engine_task.cancel()
            self._engine_end = io.EngineEnded("failed", _now_ms(), code, message)
            self._wake.set()
        elif self.state.stage not in {machine.Stage.RECEIPTING, machine.Stage.SETTLING}:
            self._post(io.Refused(code, message, "Choose another offer."))

    async def run(self) -> None:
        """Serve until the request is over."""
        try:
            async with ending_late_waits() as self._deadline:
                while self.end is None:
                    await self._next()
        except (CircuitClosedError, TimeoutError, IdlewattError) as error:
            code = error.wire_code if isinstance(error, IdlewattError) else "timeout"
            self.state, actions = machine.step(self.state, io.PeerGone(code))
            self.end = next(
                (a for a in actions if isinstance(a, io.EndRequest)), io.EndRequest(code, self.state.exposure_nano)
            )
        finally:
            if self._payment_timer is not None:
                self._payment_timer.cancel()
            tasks = (*self._tasks, *([self._counting] if self._counting else ()))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._leave_line()
            if self._reserved is not None:
                # A buyer answers this refusal by topping up: what was read before says nothing any more.
                await self._host.release_channel(
                    self._reserved, is_outdated=self.end is not None and self.end.code == "deposit_too_small"
                )

    async def _next(self) -> None:
        """Wait for one thing, and feed it: what was said and done first, then text that may go out, then its end."""
        while True:
            self._wake.clear()
            said = self._said()
            if said is not None:
                event: io.Event = said
            elif self._events:
                event = self._events.popleft()
            elif self.state.wants_chunks and self._chunks:
                event = self._produced()
            elif self.state.wants_chunks and self._engine_end is not None:
                event, self._engine_end = self._engine_end, None
            else:
                await self._wait()
                continue
            await self._feed(event)
            return

    async def _wait(self) -> None:
        if self.state.stage is not machine.Stage.IDLE:
            await self._wake.wait()
            return
        await self._within(ASK_TIMEOUT_S, self._wake.wait())

    async def _within(self, limit_s: float, wait: Awaitable[object]) -> None:
        """Wait for something; a session that has to wait for longer is over."""
        assert self._deadline is not None
        self._deadline.begin(limit_s)
        await wait
        self._deadline.end()

    def _produced(self) -> io.TextProduced:
        """What has gathered, up to where a text of another kind begins."""
        chunks, first = self._chunks, self._chunks[0]
        text, tokens, logprobs = list[str](), 0, list[TokenLogprob]()
        while chunks and (chunks[0].thinking, chunks[0].marker) == (first.thinking, first.marker):
            chunk = chunks.popleft()
            text.append(chunk.text)
            tokens += chunk.tokens
            logprobs += chunk.logprobs
            self._chars -= len(chunk.text)
        self._room.set()
        return io.TextProduced("".join(text), tokens, first.thinking, tuple(logprobs), first.marker)

    def _is_full(self) -> bool:
        windows = WINDOWS_AHEAD * self.state.policy.credit_tokens
        return self._chars > BUFFERED_CHARS or sum(chunk.tokens for chunk in self._chunks) > windows

    def _drop_text(self) -> None:
        self._chunks.clear()
        self._chars = 0
        self._room.set()

    async def _feed(self, event: io.Event) -> None:
        pending = deque([event])
        while pending and self.end is None:
            self.state, actions = machine.step(self.state, pending.popleft())
            for action in actions:
                answer = await self._run(action)
                if answer is not None:
                    pending.append(answer)
            if not self.state.awaits_payment and self._payment_timer is not None:
                self._payment_timer.cancel()
                self._payment_timer = None
            self._on_change(self.state)

    async def _run(self, action: io.Action) -> io.Event | None:
        match action:
            case io.Send(message):
                await self._within(SEND_TIMEOUT_S, self._mailbox.link.send(message))
            case io.CheckChannel(channel_id):
                return await self._or_refused(self._check(channel_id))
            case io.StoreVoucher(voucher):
                return await self._or_refused(self._store(voucher))
            case io.CountInput(messages, options):
                return await self._or_refused(self._count(messages, options))
            case io.IssueReceipt():
                return await self._or_refused(self._receipt(action))
            case io.AgreeClose(channel_id):
                return await self._or_refused(self._close(channel_id))
            case _:
                self._run_at_once(action)
        return None

    def _run_at_once(self, action: io.Action) -> None:
        match action:
            case io.Generate(request):
                self._engine_task = self._spawn(self._generate(request))
            case io.StopGenerating():
                if self._engine_task is not None:
                    self._engine_task.cancel()
                self._drop_text()
            case io.AwaitPayment():
                loop = asyncio.get_running_loop()
                self._payment_timer = loop.call_later(self._payment_timeout_s, self._post, io.PaymentTimeout())
            case io.CountRejection(code):
                self.rejections.append(code)
            case io.EndRequest():
                self.end = action
            case _:
                raise AssertionError(action)

    async def _or_refused(self, work: Awaitable[io.Event]) -> io.Event:
        try:
            return await work
        except IdlewattError as error:
            return io.Refused(error.code, error.message, error.fix, _retry_after_ms(error))

    async def _check(self, channel_id: int) -> io.Event:
        if self._is_regular and (ask := self.state.ask) is not None:
            self._counting = asyncio.ensure_future(self._host.count(ask.messages, ask.template_options))
        facts = await self._host.channel_facts(channel_id)
        self._reserved = channel_id
        return io.ChannelChecked(facts)

    async def _store(self, voucher: Voucher) -> io.Event:
        await self._host.store_voucher(voucher)
        return io.VoucherStored(voucher)

    async def _count(self, messages: tuple[ChatMessage, ...], options: TemplateOptions) -> io.Event:
        assert self.state.channel is not None
        self._place = self._host.enter(self.state.channel.payer)
        counting = self._counting if self._counting is not None else self._host.count(messages, options)
        return io.InputCounted(await counting)

    async def _receipt(self, facts: io.IssueReceipt) -> io.Event:
        self.receipt = await self._host.issue_receipt(facts)
        return io.ReceiptReady(self.receipt)

    async def _close(self, channel_id: int) -> io.Event:
        return io.CloseSigned(*await self._host.agree_close(channel_id))

    def _said(self) -> io.Event | None:
        try:
            message = self._mailbox.take()
        except m.MessageError as error:
            return io.Refused(error.code, error.message, error.fix, _retry_after_ms(error))
        except IdlewattError as error:
            return io.PeerGone(error.wire_code)
        return None if message is None else io.Received(message)

    async def _generate(self, request: GenerateRequest) -> None:
        end = io.EngineEnded("failed", 0, "engine_failed", "The engine ended without a word.")
        place = self._place
        assert place is not None
        try:
            await place.reached(lambda position, eta_ms: self._post(io.WaitingForSlot(position, eta_ms)))
            stream = self._host.generate(request)
            async with contextlib.aclosing(stream), ending_late_waits() as deadline:  # type: ignore[type-var]
                end = await self._stream(stream, deadline, end)
        except IdlewattError as error:
            end = io.EngineEnded("failed", _now_ms(), error.wire_code, error.message, error.fix, _retry_after_ms(error))
        except TimeoutError:
            end = io.EngineEnded("failed", _now_ms(), "engine_stalled", "The engine stopped answering.")
        finally:
            self._leave_line()
        self._engine_end = end
        self._wake.set()

    async def _stream(
        self, stream: AsyncIterator[EngineEvent], deadline: Deadline, end: io.EngineEnded
    ) -> io.EngineEnded:
        while True:
            deadline.begin(self._host.engine_timeout_s())
            event = await anext(stream, None)
            deadline.end()
            match event:
                case None:
                    return end
                case Started(input_tokens=input_tokens, seed=seed):
                    self._post(io.Started(input_tokens, seed, _now_ms()))
                case Chunk():
                    self._chunks.append(event)
                    self._chars += len(event.text)
                    self._wake.set()
                case Finished(reason=reason):
                    end = io.EngineEnded(reason, _now_ms())
            while self._is_full():
                self._room.clear()
                await self._room.wait()

    def _leave_line(self) -> None:
        if self._place is not None:
            self._place.leave()

    def _post(self, event: io.Event) -> None:
        self._events.append(event)
        self._wake.set()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        return task


def _retry_after_ms(error: IdlewattError) -> int:
    return 0 if error.retry_after_s is None else math.ceil(1000 * error.retry_after_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
