"""This machine's clock, and how it compares with the relay's and the chain's at any moment."""

from __future__ import annotations

from collections.abc import Callable

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.market.clock import LIMITS, ClockLimits, judge_clock
from node.relay.clock import RelayClock, steady_s
from node.runtime.jobs import now_ms as system_now_ms
from node.values import ClockView, Health

log = get_logger(__name__)


class NodeClock:
    """What time it is for offers, and whether that can be relied on.

    The comparison goes on between a relay's messages: a clock that is set right is right at once.

    Args:
        relay: The relay's clock as last heard; ``None`` before the first welcome.
        chain_s: The chain's time in seconds; 0 before it was first reached.
        now_ms: This machine's clock, milliseconds UTC.
        limits: What is told, and what is refused.
    """

    def __init__(
        self,
        relay: Callable[[], RelayClock | None],
        chain_s: Callable[[], int],
        *,
        now_ms: Callable[[], int] = system_now_ms,
        limits: ClockLimits = LIMITS,
    ) -> None:
        self._relay = relay
        self._chain_s = chain_s
        self.now_ms = now_ms
        self._limits = limits
        self._told = Health.OK

    def view(self) -> ClockView | None:
        """How this machine's clock compares; ``None`` before a relay told its time."""
        relay = self._relay()
        if relay is None:
            return None
        return judge_clock(
            relay.ahead_ms(self.now_ms(), steady_s()),
            relay.doubt_ms,
            chain_ahead_ms=self.chain_ahead_ms,
            limits=self._limits,
        )

    @property
    def chain_ahead_ms(self) -> int | None:
        """How far this machine's clock is ahead of the chain's; ``None`` before the chain was reached."""
        chain_s = self._chain_s()
        return self.now_ms() - chain_s * 1000 if chain_s else None

    def news(self) -> ClockView | None:
        """What a person should hear now: how it compares, where that is worse or better than at the last call."""
        view = self.view()
        told, self._told = self._told, Health.OK if view is None else view.health
        if view is None or view.health in {told, Health.OK}:
            return None
        log.warning("clock_differs", ahead_ms=view.ahead_ms, told=view.line)
        return view

    @property
    def is_wrong(self) -> bool:
        """Whether it is too far off to read or to sign offers by."""
        view = self.view()
        return view is not None and view.health is Health.FAIL

    def check(self) -> None:
        """Refuse what a wrong clock would spoil.

        Raises:
            IdlewattError: ``clock_wrong``, with the difference and the fix.
        """
        view = self.view()
        if view is not None and view.health is Health.FAIL:
            raise IdlewattError(view.line, code="clock_wrong", fix=view.fix)
