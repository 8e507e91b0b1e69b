"""Computes what the scheduler plans: fills a batch, has llama.cpp compute it, and recovers from its errors."""

from __future__ import annotations

import time
from dataclasses import dataclass

from node.engine.ipc import Load
from node.engine.worker.batch import Batch
from node.engine.worker.cache import PrefixCache
from node.engine.worker.model import LoadedModel
from node.engine.worker.output import RequestOutput
from node.engine.worker.pacing import Pacer
from node.engine.worker.scheduler import BATCH_TOKENS, BatchPlan, ScheduledRequest, Scheduler
from node.engine.worker.swap import SwapSpace

_NO_ROOM = 1


@dataclass(slots=True, eq=False, kw_only=True)
class ActiveRequest(ScheduledRequest):
    """A request in the queue or in a slot, with its answer."""

    output: RequestOutput
    credit: int
    row: int = -1
    sampled: int = 0
    output_tokens: int = 0
    begun_at: float = 0.0
    first_at: float = 0.0

    def take_credit(self, tokens: int) -> None:
        """Change by how many tokens the answer may go on before its reader takes some."""
        self.credit += tokens
        self.ready = self.credit > 0


class ModelRunner:
    """One context, and the requests that use it.

    Args:
        model: What is loaded; nothing else computes with it meanwhile.
        config: How requests share it.
    """

    def __init__(self, model: LoadedModel, config: Load) -> None:
        self._model = model
        self.cache = PrefixCache(
            model,
            cells=config.fit.cache_tokens,
            sequences=model.sequences,
            partial=model.partial,
            share_prefixes=config.options.share_prefixes,
            swap=SwapSpace(config.swap_bytes),
            evict_after_tokens=config.evict_after_tokens,
        )
        self.scheduler: Scheduler[ActiveRequest] = Scheduler(
            self.cache,
            slots=config.options.slots,
            context_length=config.fit.context_length,
            queue_limit=config.limits.queue_limit,
        )
        self.batch = Batch(BATCH_TOKENS, model.sequences)
        self.pacer = Pacer(BATCH_TOKENS, config.fit.micro_batch_tokens)
        self.steps = 0

    def step(self) -> tuple[list[ActiveRequest], list[ActiveRequest]] | None:
        """Compute one batch: a token of every stream that may have one, and shares of the prompts.

        Returns:
            The requests whose next token can be drawn from their row, and the requests that llama.cpp failed; None if
            there was nothing to do.
        """
        plan = self.scheduler.plan(
            beside=self.pacer.prompt_tokens(beside=True), alone=self.pacer.prompt_tokens(beside=False)
        )
        drawing = self._fill(plan)
        rows = self.batch.rows
        if not rows:
            return None
        self.cache.tidy()
        began = time.perf_counter()
        code = self.batch.decode(self._model.context)
        self.steps += 1
        if code:
            return [], self._recover(plan, code)
        self._advance(plan)
        self.pacer.observe(len(plan.decoding), rows - len(plan.decoding), time.perf_counter() - began)
        self.cache.prompt_token_s = self.pacer.prompt_token_s
        return drawing, []

    def forget(self) -> None:
        """Empty the cache; nothing may run."""
        self.cache.clear()

    def _fill(self, plan: BatchPlan[ActiveRequest]) -> list[ActiveRequest]:
        batch = self.batch
        for one in plan.decoding:
            one.row = batch.add(one.tokens[-1], one.computed_tokens, one.sequence)
        if not plan.prefilling:
            return plan.decoding
        drawing = list(plan.decoding)
        for one, share in plan.prefilling:
            start, end = one.computed_tokens, one.computed_tokens + share
            last = end == len(one.tokens)
            one.row = batch.add_prompt(one.tokens[start:end], start, one.sequence, last=last)
            if last:
                drawing.append(one)
        return drawing

    def _advance(self, plan: BatchPlan[ActiveRequest]) -> None:
        grow = self.cache.grow
        for one in plan.decoding:
            one.computed_tokens += 1
            grow(one.sequence, 1)
        for one, share in plan.prefilling:
            one.computed_tokens += share
            grow(one.sequence, share)
        self.cache.age(len(plan.decoding))

    def _recover(self, plan: BatchPlan[ActiveRequest], code: int) -> list[ActiveRequest]:
        """Go on after a batch that was not computed; returns the requests that can't."""
        failed = [*plan.decoding, *(one for one, _ in plan.prefilling)]
        if code == _NO_ROOM:
            # llama.cpp found less room than our count says there is; nothing was computed.
            if self.cache.forget_kept():
                return []
            victim = self.scheduler.victim()
            if victim is not None:
                self.scheduler.preempt(victim)
                return []
            for one in failed:
                self.scheduler.release(one, keep=False)
            return failed
        # What the cache holds now is not known: those that were not in the batch begin again.
        for one in failed:
            self.scheduler.release(one, keep=False)
        self.scheduler.preempt_all()
        self._model.renew()
        return failed
