"""Which requests run, wait or are preempted, and what goes into the next batch: pure, over slots and cache cells.

Requests are admitted before their whole answer is known to fit. When the cache is full, the request that came
last is preempted: it gives its cells back and waits at the front of the queue. Later what it had is swapped in from
main memory, or computed again where it was not swapped out, and its answer goes on. The request that came first is
never preempted, so one of them always makes progress.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from node.engine.protocol import EngineError
from node.engine.worker.cache import PrefixCache

BATCH_TOKENS = 512
PRIORITY_SECONDS = 30.0
"""What a step of priority is worth: as if the request had come so much earlier. So every request has its turn."""
ANSWER_SHARE = 4
"""A request is admitted when a quarter of its answer fits: most end long before they may."""
LEAST_ANSWER_TOKENS = 32
MOST_ANSWER_TOKENS = 512
"""Of an answer that may fill the context, no more than this has to fit: few are longer, and one that is may preempt."""
SAME_AGE_SECONDS = 1.0
"""Requests that came within so long of each other begin together: none of them is held back for another's sake."""


@dataclass(slots=True, eq=False, kw_only=True)
class ScheduledRequest:
    """One request as the scheduler sees it.

    Attributes:
        tokens: The prompt, and the answer as far as it is known; its owner appends to it.
        max_output_tokens: Tokens the answer may have.
        key: Prefixes are reused among requests with the same key.
        arrived_at: When it came in seconds, less what its priority is worth.
        ready: Whether its next token may be drawn: its reader is not too far behind.
        sequence: Its number in the cache, -1 while it waits.
        computed_tokens: How many of `tokens` the cache holds.
        reused_tokens: How many of them were not computed for it.
        was_preempted: Whether it waits, or waited, for the second time.
    """

    ticket: int
    tokens: list[int]
    max_output_tokens: int
    key: str = ""
    arrived_at: float = 0.0
    ready: bool = True
    sequence: int = -1
    computed_tokens: int = 0
    reused_tokens: int = 0
    was_preempted: bool = False
    prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Smaller runs first."""
        return not self.was_preempted, self.arrived_at, self.ticket

    @property
    def cells(self) -> int:
        """Cells to admit it with: all it may ever need once it was preempted, so that this rarely happens twice."""
        left = self.prompt_tokens + self.max_output_tokens - len(self.tokens)
        usual = max(LEAST_ANSWER_TOKENS, min(MOST_ANSWER_TOKENS, -(-left // ANSWER_SHARE)))
        return len(self.tokens) + (left if self.was_preempted else min(left, usual))


_R = TypeVar("_R", bound=ScheduledRequest)


@dataclass(slots=True)
class BatchPlan(Generic[_R]):
    """What the next batch computes."""

    decoding: list[_R]
    """Requests whose last token goes in, to draw the next."""
    prefilling: list[tuple[_R, int]]
    """Requests with so many more tokens of their prompt, or of what was computed before they were preempted."""


class Scheduler(Generic[_R]):
    """Admits requests in the order of their age and priority, and makes room when the cache is full.

    Attributes:
        running: Requests that run, the one that came first at the front.
        waiting: Requests that wait for a slot or for cells, the next one at the front; preempted ones first.

    Args:
        cache: Its cells are what all requests share; they are as many as one request can need, or more.
        slots: Requests that run at once.
        context_length: Tokens one request may have.
        queue_limit: Requests that may wait.
    """

    def __init__(self, cache: PrefixCache, *, slots: int, context_length: int, queue_limit: int) -> None:
        self.context_length = context_length
        self.running: list[_R] = []
        self._cache = cache
        self._slots = slots
        self._queue_limit = queue_limit
        self.waiting: list[_R] = []

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.running and not self.waiting

    def max_output_for(self, input_tokens: int, max_tokens: int) -> int:
        """Tokens an answer may have: what was asked for, or what the context leaves.

        Raises:
            EngineError: With code ``context_too_long`` if the prompt leaves none.
        """
        max_output_tokens = self.context_length - input_tokens
        if max_output_tokens < 1:
            raise EngineError(
                f"The conversation has {input_tokens} tokens, and the model's context holds {self.context_length} with "
                "the answer.",
                code="context_too_long",
                fix="Shorten it, or start a new one.",
            )
        return min(max_tokens, max_output_tokens)

    def submit(self, request: _R) -> None:
        """Put a request into the queue; `admit` takes it out.

        Raises:
            EngineError: With code ``engine_busy`` if too many wait.
        """
        must_wait = bool(self.waiting) or not self._fits(request)
        if must_wait and len(self.waiting) >= self._queue_limit:
            raise EngineError(
                "Every slot of this model is taken, and its queue is full.",
                code="engine_busy",
                fix="Try again in a moment, or choose another provider.",
            )
        insort(self.waiting, request, key=_rank)

    def admit(self) -> list[_R]:
        """Start the requests that can run now; the first in the queue is never overtaken, so none starves.

        Only a preempted request whose reader is behind is passed over: it could not go on anyway.
        """
        admitted: list[_R] = []
        for request in list(self.waiting):
            if not request.ready:
                continue
            if not self._fits(request) and not self._reclaim(request):
                break
            self.waiting.remove(request)
            request.sequence, request.computed_tokens = self._cache.take(request.key, request.tokens)
            request.reused_tokens = request.computed_tokens
            insort(self.running, request, key=_age)
            admitted.append(request)
        return admitted

    def release(self, request: _R, *, keep: bool = True) -> None:
        """Free what a request holds, whether it runs or waits; what it computed is kept for reuse if `keep`."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.running:
            self.running.remove(request)
            if keep:
                self._cache.keep(request.sequence)
            else:
                self._cache.drop(request.sequence)
            request.sequence = -1

    def preempt(self, request: _R) -> None:
        """Take a running request's cells, and swap them out if there is room; it waits at the front of the queue."""
        self._cache.set_aside(request.sequence)
        self._requeue(request)

    def preempt_all(self) -> None:
        """Have everything that runs begin again, in an empty cache: what is in it is not to be trusted."""
        self._cache.clear()
        for request in list(self.running):
            self._requeue(request)

    def victim(self) -> _R | None:
        """The request to preempt: the last one that can't go on, else the last of all; never the only one."""
        if len(self.running) < 2:
            return None
        return next((request for request in reversed(self.running) if not request.ready), self.running[-1])

    def plan(self, *, beside: int, alone: int, batch_tokens: int = BATCH_TOKENS) -> BatchPlan[_R]:
        """What the next batch holds, for which there is room: every token that can be drawn, and shares of prompts.

        Args:
            beside: Tokens of prompts it may hold beside the next tokens of streams that were there before them.
            alone: Tokens of prompts it may hold otherwise.
            batch_tokens: Tokens it may hold in all.
        """
        while True:
            decoding, prefilling = self._wanting()
            if self._cache.make_room(len(decoding) or bool(prefilling)):
                break
            victim = self.victim()
            if victim is None:
                break
            self.preempt(victim)
        if not prefilling:
            return BatchPlan(decoding, [])
        pending = [len(request.tokens) - request.computed_tokens for request in prefilling]
        most = beside if _is_interrupted(decoding, prefilling) else alone
        limit = max(0, min(most, batch_tokens - len(decoding), sum(pending)))
        if limit and not self._cache.make_room(len(decoding) + limit):
            limit = self._cache.free_cells - len(decoding)
        shares = share_prefill(pending, limit)
        return BatchPlan(decoding, [(one, share) for one, share in zip(prefilling, shares, strict=True) if share])

    def _requeue(self, request: _R) -> None:
        self.running.remove(request)
        request.sequence, request.computed_tokens, request.was_preempted = -1, 0, True
        insort(self.waiting, request, key=_rank)

    def _reclaim(self, request: _R) -> bool:
        """Where no running request can go on, take cells of those that wait for their readers."""
        while self.running and len(self.running) < self._slots and not any(one.ready for one in self.running):
            self.preempt(self.running[-1])
            if self._fits(request):
                return True
        return False

    def _wanting(self) -> tuple[list[_R], list[_R]]:
        decoding, prefilling = [], []
        for request in self.running:
            if len(request.tokens) - request.computed_tokens > 1:
                prefilling.append(request)
            elif request.ready:
                decoding.append(request)
        return decoding, prefilling

    def _fits(self, request: _R) -> bool:
        if len(self.running) >= self._slots:
            return False
        promised = sum(max(0, other.cells - other.computed_tokens) for other in self.running)
        return not self.running or promised + self._cache.held_by_running() + request.cells <= self._cache.capacity


def _is_interrupted(decoding: Sequence[ScheduledRequest], prefilling: Sequence[ScheduledRequest]) -> bool:
    """Whether prompts are read beside a stream that was there before them."""
    first = min(request.arrived_at for request in prefilling)
    return any(request.arrived_at + SAME_AGE_SECONDS < first for request in decoding)


def _rank(request: ScheduledRequest) -> tuple[bool, float, int]:
    return request.rank


def _age(request: ScheduledRequest) -> tuple[float, int]:
    return request.arrived_at, request.ticket


def share_prefill(pending: Sequence[int], budget: int) -> list[int]:
    """Divide a batch's room among prompts: equal shares, and what one can't use goes to the others in turn.

    Args:
        pending: Prompt tokens that each sequence still has to process, the first in rank first.
        budget: Tokens there is room for.
    """
    shares = [0] * len(pending)
    open_ones = [index for index, need in enumerate(pending) if need > 0]
    while budget > 0 and open_ones:
        each = max(1, budget // len(open_ones))
        for index in open_ones:
            step = min(each, pending[index] - shares[index], budget)
            shares[index] += step
            budget -= step
        open_ones = [index for index in open_ones if shares[index] < pending[index]]
    return shares
