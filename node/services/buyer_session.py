"""One request on the buyer's side: runs the machine of ``node.session.buyer`` against a circuit, a disk and a key."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from chain.errors import IdlewattError
from node.session import buyer as machine
from node.session import buyer_io as io
from node.session import messages as m
from node.session.link import SealedLink
from wallet.vouchers import Voucher

SEND_TIMEOUT_S: Final = 30.0
BUFFERED_MESSAGES: Final = 256
MOST_QUEUED_S: Final = 900.0
"""How long a provider may keep a buyer in line with words alone."""
PATIENT_TOKENS: Final = 100
"""A provider may be silent for as long as this many of its tokens take."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long the provider may say nothing, by what is waited for; scaled to the speed its offer claims."""

    quote_s: float
    first_token_s: float
    next_token_s: float
    settled_s: float = 10.0

    @classmethod
    def for_speed(cls, tokens_per_s: float, ttft_ms: float, prompt_bytes: int) -> Patience:
        """Deadlines for an offer: a slow machine gets time in proportion, a silent one does not get for ever."""
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
        link: The open sealed link.
        terms: What is known of channel and provider.
        ask: The request.
        sign: Writes a cumulative amount down, then signs the voucher.
        adopt: Writes down that a voucher with our own signature exists.
        report: Told quote, place in line, text and the outcome; may wait, which slows the provider down.
        patience: Deadlines.
    """

    def __init__(
        self,
        link: SealedLink,
        terms: machine.BuyerTerms,
        ask: m.Ask,
        *,
        sign: Callable[[int], Awaitable[Voucher]],
        adopt: Callable[[Voucher], Awaitable[None]],
        report: Callable[[io.Report, machine.BuyerState], Awaitable[None]],
        patience: Patience,
    ) -> None:
        self._link = link
        self._sign = sign
        self._adopt = adopt
        self._report = report
        self._patience = patience
        self.state, self._first = machine.start(terms, ask)
        self.outcome: io.Finished | io.Failed | None = None
        self.settled = False
        self._inbox: deque[io.Event] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._cancelled = False
        self._gone = False
        self._queued_at_s: float | None = None

    def cancel(self) -> None:
        """Ask the provider to stop; what was delivered is paid and receipted."""
        if not self._cancelled:
            self._cancelled = True
            # Before what is buffered: the person wants no more of it.
            self._inbox.appendleft(io.CancelWanted())
            self._wake.set()

    async def run(self) -> io.Finished | io.Failed:
        """Ask, receive, pay; returns how it ended. The circuit is closed afterwards."""
        reader = asyncio.create_task(self._read())
        try:
            await self._perform(self._first)
            while self.outcome is None:
                await self._feed(await self._next())
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            await self._link.close("done" if isinstance(self.outcome, io.Finished) else "failed")
        return self.outcome

    async def _next(self) -> io.Event:
        if not self._inbox:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._patience_s()):
                    await self._wake.wait()
            except TimeoutError:
                return io.Silence()
        self._room.set()
        return self._inbox.popleft()

    def _patience_s(self) -> float:
        match self.state.stage:
            case machine.Stage.ASKED:
                return self._patience.quote_s
            case machine.Stage.QUOTED if self._queued_at_s is not None:
                left_s = self._queued_at_s + MOST_QUEUED_S - asyncio.get_running_loop().time()
                return max(0.0, min(left_s, self._patience.first_token_s))
            case machine.Stage.QUOTED:
                return self._patience.first_token_s
            case machine.Stage.PAYING:
                return self._patience.settled_s
            case _:
                return self._patience.next_token_s

    async def _feed(self, event: io.Event) -> None:
        pending = deque([event])
        while pending and self.outcome is None:
            event = pending.popleft()
            if self._queued_at_s is None and isinstance(event, io.Received) and isinstance(event.message, m.Queued):
                self._queued_at_s = asyncio.get_running_loop().time()
            if isinstance(event, io.Received) and isinstance(event.message, m.Settled):
                self.settled = event.message.cumulative_nano >= self.state.signed_nano
            self.state, actions = machine.step(self.state, event)
            pending.extend(await self._perform(actions))

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
            case io.Sign(cumulative_nano):
                try:
                    return io.Signed(await self._sign(cumulative_nano))
                except IdlewattError as error:
                    return io.SigningFailed(error.code, error.message, error.fix)
            case io.Adopt(voucher):
                try:
                    await self._adopt(voucher)
                except IdlewattError as error:
                    return io.SigningFailed(error.code, error.message, error.fix)
            case io.Report():
                await self._report(action, self.state)
            case io.Finished() | io.Failed():
                self.outcome = action
        return None

    async def _send(self, message: m.Message) -> None:
        if self._gone:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._link.send(message)
        except m.MessageError:
            raise
        except (IdlewattError, TimeoutError):
            # The reader hears of it too, and says it in order: what arrived before still counts.
            self._gone = True

    async def _read(self) -> None:
        try:
            while True:
                self._post(io.Received(await self._link.receive()))
                while len(self._inbox) >= BUFFERED_MESSAGES:
                    self._room.clear()
                    await self._room.wait()
        except m.MessageError as error:
            self._post(io.PeerGone("protocol", error.message))
        except IdlewattError as error:
            self._post(io.PeerGone(error.code, error.message))

    def _post(self, event: io.Event) -> None:
        self._inbox.append(event)
        self._wake.set()
