"""Who runs, who waits, who makes way, and what goes into the next batch: pure bookkeeping over slots and cache cells.

Requests are admitted before their whole answer is known to fit. When the cache runs full, the one that came last gives
its cells back and waits at the front of the queue; what it had so far then comes back from main memory, or is computed
again where that has no room, and its answer goes on.
The one that came first is never asked to, so there is always one that gets on.
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
SAME_AGE_SECONDS = 1.0
"""Requests that came within so long of each other begin together: none of them is held back for another's sake."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One request as the scheduler sees it.

    Attributes:
        tokens: The prompt, and the answer as far as it is known; its owner appends to it.
        room: Tokens the answer may have.
        came_at: When it came, less what its priority is worth.
        ready: Whether its next token may be drawn: its reader is not too far behind.
        number: Its sequence in the cache, -1 while it waits.
        position: How many of `tokens` the cache holds.
        reused: How many of them were not computed for it.
    """

    ticket: int
    tokens: list[int]
    room: int
    key: str = ""
    came_at: float = 0.0
    ready: bool = True
    number: int = -1
    position: int = 0
    reused: int = 0
    made_way: bool = False
    prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Smaller runs first."""
        return not self.made_way, self.came_at, self.ticket

    @property
    def cells(self) -> int:
        """Cells to admit it with: all it may ever need once it had to make way, so that it need not do so often."""
        left = self.prompt_tokens + self.room - len(self.tokens)
        share = left if self.made_way else min(left, max(LEAST_ANSWER_TOKENS, -(-left // ANSWER_SHARE)))
        return len(self.tokens) + share


_J = TypeVar("_J", bound=Job)


@dataclass(slots=True)
class Step(Generic[_J]):
    """What to compute next."""

    decoding: list[_J]
    """Those whose last token goes in, to draw the next."""
    reading: list[tuple[_J, int]]
    """Those who read so many more tokens of their prompt, or of what they had computed before they made way."""


class Scheduler(Generic[_J]):
    """Admits requests in the order of their age and priority, and makes room when the cache is full.

    Attributes:
        running: Requests that run, the one that came first at the front.

    Args:
        cache: Its cells are what all requests share; they are as many as one request can need, or more.
        slots: Requests that run at once.
        context_length: Tokens one request may have.
        queue_limit: Requests that may wait.
    """

    def __init__(self, cache: PrefixCache, *, slots: int, context_length: int, queue_limit: int) -> None:
        self.context_length = context_length
        self.running: list[_J] = []
        self._cache = cache
        self._slots = slots
        self._queue_limit = queue_limit
        self._queue: list[_J] = []

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.running and not self._queue

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def answer_room(self, input_tokens: int, max_tokens: int) -> int:
        """Tokens an answer may have: what was asked for, or what the context leaves.

        Raises:
            EngineError: With code ``context_too_long`` if the prompt leaves none.
        """
        room = self.context_length - input_tokens
        if room < 1:
            raise EngineError(
                f"The conversation has {input_tokens} tokens, and the model's context holds {self.context_length} with "
                "the answer.",
                code="context_too_long",
                fix="Shorten it, or start a new one.",
            )
        return min(max_tokens, room)

    def submit(self, job: _J) -> None:
        """Put a request into the queue; `admit` takes it out.

        Raises:
            EngineError: With code ``engine_busy`` if too many wait.
        """
        must_wait = bool(self._queue) or not self._fits(job)
        if must_wait and len(self._queue) >= self._queue_limit:
            raise EngineError(
                "Every slot of this model is taken, and its queue is full.",
                code="engine_busy",
                fix="Try again in a moment, or choose another provider.",
            )
        insort(self._queue, job, key=_rank)

    def admit(self) -> list[_J]:
        """Start those who can run now; the first in the queue is never overtaken, so nobody starves.

        Only one that made way and whose reader is behind is passed over: it could not go on anyway.
        """
        admitted: list[_J] = []
        for job in list(self._queue):
            if not job.ready:
                continue
            if not self._fits(job) and not self._reclaim(job):
                break
            self._queue.remove(job)
            job.number, job.position = self._cache.take(job.key, job.tokens)
            job.reused = job.position
            insort(self.running, job, key=_age)
            admitted.append(job)
        return admitted

    def release(self, job: _J, *, keep: bool = True) -> None:
        """Free what a request holds, whether it runs or waits; what it computed is kept for reuse if `keep`."""
        if job in self._queue:
            self._queue.remove(job)
        elif job in self.running:
            self.running.remove(job)
            if keep:
                self._cache.keep(job.number)
            else:
                self._cache.drop(job.number)
            job.number = -1

    def make_way(self, job: _J) -> None:
        """Take a running request's cells; it goes to the front of the queue."""
        self._cache.set_aside(job.number)
        self._wait_again(job)

    def make_all_way(self) -> None:
        """Have everything that runs begin again, in an empty cache: what is in it is not to be trusted."""
        self._cache.clear()
        for job in list(self.running):
            self._wait_again(job)

    def victim(self) -> _J | None:
        """Who should make way: who came last of those that can't go on, else of all; never the only one."""
        if len(self.running) < 2:
            return None
        return next((job for job in reversed(self.running) if not job.ready), self.running[-1])

    def plan(self, *, beside: int, alone: int, batch_tokens: int = BATCH_TOKENS) -> Step[_J]:
        """What the next batch holds, for which there is room: every token that can be drawn, and shares of prompts.

        Args:
            beside: Tokens of prompts it may hold beside the next tokens of streams that were there before them.
            alone: Tokens of prompts it may hold otherwise.
            batch_tokens: Tokens it may hold in all.
        """
        while True:
            decoding, reading = self._wanting()
            if self._cache.make_room(len(decoding) or bool(reading)):
                break
            victim = self.victim()
            if victim is None:
                break
            self.make_way(victim)
        if not reading:
            return Step(decoding, [])
        pending = [len(job.tokens) - job.position for job in reading]
        most = beside if _is_interrupted(decoding, reading) else alone
        limit = max(0, min(most, batch_tokens - len(decoding), sum(pending)))
        if limit and not self._cache.make_room(len(decoding) + limit):
            limit = self._cache.free_cells - len(decoding)
        shares = share_prefill(pending, limit)
        return Step(decoding, [(job, share) for job, share in zip(reading, shares, strict=True) if share])

    def _wait_again(self, job: _J) -> None:
        self.running.remove(job)
        job.number, job.position, job.made_way = -1, 0, True
        insort(self._queue, job, key=_rank)

    def _reclaim(self, job: _J) -> bool:
        """Where no running request can go on, take cells of those that wait for their readers."""
        while self.running and len(self.running) < self._slots and not any(one.ready for one in self.running):
            self.make_way(self.running[-1])
            if self._fits(job):
                return True
        return False

    def _wanting(self) -> tuple[list[_J], list[_J]]:
        decoding, reading = [], []
        for job in self.running:
            if len(job.tokens) - job.position > 1:
                reading.append(job)
            elif job.ready:
                decoding.append(job)
        return decoding, reading

    def _fits(self, job: _J) -> bool:
        if len(self.running) >= self._slots:
            return False
        promised = sum(max(0, other.cells - other.position) for other in self.running)
        return not self.running or promised + self._cache.held_by_running() + job.cells <= self._cache.capacity


def _is_interrupted(decoding: Sequence[Job], reading: Sequence[Job]) -> bool:
    """Whether prompts are read beside a stream that was there before them."""
    first = min(job.came_at for job in reading)
    return any(job.came_at + SAME_AGE_SECONDS < first for job in decoding)


def _rank(job: Job) -> tuple[bool, float, int]:
    return job.rank


def _age(job: Job) -> tuple[float, int]:
    return job.came_at, job.ticket


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
