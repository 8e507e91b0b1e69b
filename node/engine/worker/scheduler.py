"""Who runs, who waits, and what goes into the next batch: pure bookkeeping over slots and cache cells."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from node.engine.protocol import EngineError

BATCH_TOKENS = 512
SHARED_PREFILL_TOKENS = 128
"""Prompt tokens in a batch that others decode in too: their next token doesn't wait for a whole batch of prompt."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request's place: its slot is its sequence id in the cache, and `cells` are reserved for it."""

    ticket: int
    slot: int
    cells: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    ticket: int
    cells: int


class Scheduler:
    """Admits requests in order of arrival, while there is a slot and room in the cache for prompt and answer.

    Args:
        slots: Requests that run at once.
        context_length: Tokens one request may have.
        cache_tokens: Cells that all of them share.
        queue_limit: Requests that may wait.
    """

    def __init__(self, *, slots: int, context_length: int, cache_tokens: int, queue_limit: int) -> None:
        self.context_length = context_length
        self._queue_limit = queue_limit
        self._free_slots = list(range(slots - 1, -1, -1))
        self.free_cells = cache_tokens
        self._queue: deque[_Waiting] = deque()
        self._running: dict[int, Admission] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._running and not self._queue

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

    def submit(self, ticket: int, input_tokens: int, max_tokens: int) -> None:
        """Put a request into the queue; `admit` takes it out.

        Raises:
            EngineError: With code ``context_too_long``, or ``engine_busy`` if too many wait.
        """
        cells = input_tokens + self.answer_room(input_tokens, max_tokens)
        must_wait = bool(self._queue) or not self._fits(cells)
        if must_wait and len(self._queue) >= self._queue_limit:
            raise EngineError(
                "Every slot of this model is taken, and its queue is full.",
                code="engine_busy",
                fix="Try again in a moment, or choose another provider.",
            )
        self._queue.append(_Waiting(ticket, cells))

    def admit(self) -> list[Admission]:
        """Give slots to those who can run now; the first in the queue is never overtaken, so nobody starves."""
        admitted: list[Admission] = []
        while self._queue and self._fits(self._queue[0].cells):
            waiting = self._queue.popleft()
            admission = Admission(waiting.ticket, self._free_slots.pop(), waiting.cells)
            self.free_cells -= admission.cells
            self._running[admission.ticket] = admission
            admitted.append(admission)
        return admitted

    def release(self, ticket: int) -> None:
        """Free what a request holds, whether it runs, waits, or is unknown."""
        admission = self._running.pop(ticket, None)
        if admission is not None:
            self._free_slots.append(admission.slot)
            self.free_cells += admission.cells
            return
        self._queue = deque(waiting for waiting in self._queue if waiting.ticket != ticket)

    def _fits(self, cells: int) -> bool:
        return bool(self._free_slots) and cells <= self.free_cells


def share_prefill(pending: Sequence[int], *, decoding: int, batch_tokens: int = BATCH_TOKENS) -> list[int]:
    """Divide a batch's room among prompts: equal shares, and what one can't use goes to the others in turn.

    Args:
        pending: Prompt tokens that each sequence still has to process, oldest first.
        decoding: Sequences that put one token each into the same batch.
        batch_tokens: Tokens of a batch.
    """
    limit = min(batch_tokens - decoding, SHARED_PREFILL_TOKENS) if decoding else batch_tokens
    budget = max(0, limit)
    shares = [0] * len(pending)
    open_ones = [index for index, need in enumerate(pending) if need > 0]
    while budget and open_ones:
        each = max(1, budget // len(open_ones))
        for index in open_ones:
            step = min(each, pending[index] - shares[index], budget)
            shares[index] += step
            budget -= step
        open_ones = [index for index in open_ones if shares[index] < pending[index]]
    return shares
