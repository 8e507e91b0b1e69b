"""The sessions of a provider: accepts circuits, serves requests, records jobs, and ends all sessions in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.provider.earnings import Earnings
from node.provider.host import ProviderHost
from node.provider.job_tracker import JobTracker
from node.provider.keep_alive import ClosingReason, IdleSession
from node.provider.limits import ProviderLimits
from node.provider.rejection_log import RejectionLog
from node.provider.rejections import REASONS
from node.provider.session import ProviderSession
from node.relay.circuit import Circuit
from node.runtime.jobs import JobRegistry, ended
from node.runtime.settings import NodeSettings
from node.session import provider as machine
from node.session import provider_io as io
from node.session.mailbox import Mailbox
from node.session.sealed_link import SealedLink
from node.values import JobView, Prices

log = get_logger(__name__)

ROOM: Final = 16
"""Idle sessions are closed when fewer sessions or relay circuits than this are free."""
HANDSHAKE_TIMEOUT_S: Final = 15.0
LAST_VOUCHER_S: Final = 5.0
"""How long the sessions that took longer may then take to pay."""
GOING_OFFLINE: Final = ClosingReason("provider_stopping", "The provider is going offline.")
PAUSING: Final = ClosingReason("provider_stopping", "The provider needs its machine for something else.")
MAKING_ROOM: Final = ClosingReason("session_over", "The provider ended a session in which nothing was asked.")
SPEED_WEIGHT: Final = 0.3
MEASURED_TOKENS: Final = 16


@dataclass
class ServiceSpeed:
    """The speed of jobs here: measured at the start, then learned from every job."""

    tokens_per_s: float = 0.0
    ttft_ms: float = 0.0
    job_ms: float = 5_000.0

    def learn(self, job: JobView, output_tokens: int) -> None:
        """Learn from a job that ended."""
        if output_tokens >= MEASURED_TOKENS and job.tokens_per_s > 0:
            self.tokens_per_s += SPEED_WEIGHT * (job.tokens_per_s - self.tokens_per_s)
        self.job_ms += SPEED_WEIGHT * ((job.finished_ms or 0) - job.started_ms - self.job_ms)


class ServingTerms(NamedTuple):
    """What a session is served with, and at which prices."""

    host: ProviderHost
    prices: Prices


class SessionManager:
    """Accepts circuits and owns every session until its job is recorded.

    Args:
        settings: The node's settings.
        jobs: Where jobs are shown and kept.
        rejections: Counts what was rejected.
        earnings: The totals, read anew after a job.
        speed: Learns from every job.
        transport_key: The X25519 private key that sessions are sealed to; 32 bytes.
        terms: What is rented out at this moment; ``None`` where nothing is.
        on_change: Told when a session began or ended, and with it how many slots are free.
        limits: How many sessions there may be, and how long each may take for what.
    """

    def __init__(  # noqa: PLR0913 - one parameter a neighbour
        self,
        settings: NodeSettings,
        jobs: JobRegistry,
        rejections: RejectionLog,
        earnings: Earnings,
        speed: ServiceSpeed,
        *,
        transport_key: bytes,
        terms: Callable[[], ServingTerms | None],
        on_change: Callable[[], None],
        limits: ProviderLimits,
    ) -> None:
        self._limits = limits
        self._settings = settings
        self._jobs = jobs
        self._rejections = rejections
        self._earnings = earnings
        self._speed = speed
        self._terms = terms
        self._on_change = on_change
        self._transport_key = transport_key
        self._stepped = asyncio.Event()
        self._sessions: set[ProviderSession] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._idle: dict[IdleSession, None] = {}
        """Open sessions, the one whose last request began longest ago first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._accounting: set[asyncio.Task[None]] = set()

    @property
    def handshakes(self) -> int:
        """Circuits whose handshake is not done."""
        return len(self._handshakes)

    async def take(self, circuit: Circuit, *, is_leaving: bool, free_circuits: int) -> None:
        """Begin a session on a circuit, or refuse it and count why.

        Args:
            circuit: A buyer's.
            is_leaving: Whether the node goes offline or gives its machine to somebody else.
            free_circuits: How many more buyers the relay lets in.
        """
        if min(free_circuits, self._limits.max_sessions - len(self._tasks)) < ROOM:
            self._make_room()
        if is_leaving or len(self._tasks) >= self._limits.max_sessions:
            self._rejections.add("provider_stopping" if is_leaving else "too_many_sessions")
            await circuit.close("busy", "The provider is busy.")
            return
        task = asyncio.create_task(self._session(circuit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until_no_answers(self) -> None:
        """Wait until no answer is being made. Answers that take too long end as failed, and are paid for.

        Idle sessions are closed at once. Sessions that only have to pay may stay.
        """
        self._close_idle(PAUSING)
        for session in self._sessions:
            if not session.is_answering:
                session.stop(*PAUSING)
        try:
            async with asyncio.timeout(self._limits.drain_s):
                while any(session.is_answering for session in self._sessions):
                    self._stepped.clear()
                    await self._stepped.wait()
        except TimeoutError:
            for session in self._sessions:
                session.stop(*PAUSING)

    async def drain(self) -> None:
        """Wait until every session is over. Answers that take too long end as failed, and are paid for.

        Idle sessions are closed at once.
        """
        self._close_idle(GOING_OFFLINE)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.drain_s)
        for session in self._sessions:
            session.stop(*GOING_OFFLINE)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=LAST_VOUCHER_S)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._accounting)

    async def end(self) -> None:
        """End every session at once, because the relay is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._accounting)

    def _close_idle(self, why: ClosingReason) -> None:
        for handshake in self._handshakes:
            handshake.cancel()
        for idle in self._idle:
            idle.close_soon(why)

    def _make_room(self) -> None:
        """Close the idle session whose last request began longest ago."""
        idle = next((idle for idle in self._idle if idle.is_idle), None)
        if idle is not None:
            idle.close_soon(MAKING_ROOM)

    async def _session(self, circuit: Circuit) -> None:
        try:
            if self._terms() is None:
                await circuit.close("busy", "The provider is not ready.")
                return
            link = await self._accepted(circuit)
            async with Mailbox(link) as mailbox:
                await self._serve(IdleSession(mailbox, idle_s=self._limits.idle_s))
        except (IdlewattError, TimeoutError) as error:
            code = error.code if isinstance(error, IdlewattError) else ""
            self._rejections.add(code if code in REASONS else "handshake_failed")
            log.info("session_not_opened", error=str(error))
            await circuit.close("protocol")
        except Exception:
            log.exception("session_failed")
            await circuit.close("internal")

    async def _accepted(self, circuit: Circuit) -> SealedLink:
        task = asyncio.current_task()
        assert task is not None
        self._handshakes.add(task)
        try:
            return await SealedLink.accept(circuit, self._transport_key, timeout_s=HANDSHAKE_TIMEOUT_S)
        finally:
            self._handshakes.discard(task)

    async def _serve(self, idle: IdleSession) -> None:
        """Serve one request after the other, at the prices of the moment, for as long as each is paid for."""
        code = "done"
        self._idle[idle] = None
        try:
            while await idle.next_message_comes():
                self._idle[idle] = self._idle.pop(idle)
                terms = self._terms()
                if terms is None:
                    code = "busy"
                    break
                end = await self._run(idle, terms)
                code = end.code if end else "failed"
                if end is None or not end.is_settled:
                    break
                idle.was_served, code = True, "done"
        except BaseException:
            code = "failed"
            raise
        finally:
            del self._idle[idle]
            await idle.mailbox.link.close(code)

    async def _run(self, idle: IdleSession, terms: ServingTerms) -> io.EndRequest | None:
        host = terms.host
        policy = machine.ProviderPolicy(
            domain=host.domain(),
            account=host.account(),
            model_sha256=bytes.fromhex(host.info.model_sha256),
            context_length=host.info.context_length,
            prices=terms.prices,
            credit_tokens=self._settings.credit_tokens,
            min_deposit_nano=self._settings.min_deposit_nano,
        )
        tracker = JobTracker(self._jobs, host.info)

        def follow(state: machine.ProviderState) -> None:
            tracker.follow(state)
            self._stepped.set()

        session = ProviderSession(
            idle.mailbox,
            policy,
            host,
            follow,
            is_regular=idle.was_served,
            payment_timeout_s=self._limits.payment_timeout_s,
        )
        self._sessions.add(session)
        self._on_change()
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._stepped.set()
            self._on_change()
            for code in session.rejections:
                self._rejections.add(code)
            if session.end is not None and session.state.channel is not None and session.state.output_tokens:
                host.write_off(session.state.channel.channel_id, session.end.unpaid_nano)
            if (is_paid := session.was_taken) is not None and session.state.channel is not None:
                host.account_for_prefill(session.state.channel.payer, is_paid=is_paid)
            # In the background, so that a buyer's next request need not wait for the disk.
            accounting = asyncio.create_task(self._account_for(session, tracker), name="account for a session")
            self._accounting.add(accounting)
            accounting.add_done_callback(self._accounting.discard)
        return session.end

    async def _account_for(self, session: ProviderSession, tracker: JobTracker) -> None:
        try:
            await self._keep_job(session, tracker)
        except Exception:
            log.exception("job_not_saved")

    async def _keep_job(self, session: ProviderSession, tracker: JobTracker) -> None:
        state, end = session.state, session.end
        if tracker.job is None or state.channel is None:
            return
        code = end.code if end else "failed"
        failed = "" if code in {"stop", "length"} else code
        error = ""
        if state.ended is not None and state.ended.error_code:
            failed, error = state.ended.error_code, state.ended.error
        finished = ended(tracker.job, code=failed, error=error, receipt=session.receipt)
        self._speed.learn(finished, state.output_tokens)
        finished = msgspec.structs.replace(finished, exposure_nano=state.exposure_nano)
        await self._jobs.finish(finished, state.channel.payer, code)
        await self._earnings.load_totals()
