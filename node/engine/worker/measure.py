"""Measures how fast a loaded model is, in its own worker and with nothing else running there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from node.engine.protocol import EngineError
from node.engine.threads import Threads
from node.engine.worker.batch import Batch
from node.engine.worker.model import LoadedModel
from node.engine.worker.native import llama

PROMPT_TOKENS = 16
DECODE_TOKENS = 32
LEAST_DECODE_TOKENS = 4
DECODE_SECONDS = 0.25
TRIALS = 8
TRIAL_SECONDS = 0.2
TRIALS_SECONDS = 1.2
CLEARLY_FASTER = 0.93


def measure(model: LoadedModel, batch: Batch, context_length: int) -> tuple[float, float]:
    """Decode speed of one stream in tokens/s, and milliseconds to the first token of a short prompt.

    Raises:
        EngineError: With code ``model_unusable`` if llama.cpp can't run the model at all, or it computes no numbers.
    """
    clock = time.perf_counter
    vocabulary = model.vocabulary.size
    prompt = [(7 * index + 1) % vocabulary for index in range(min(PROMPT_TOKENS, max(1, context_length // 2)))]
    batch.add_prompt(prompt, 0, 0, last=True)
    began = clock()
    _decode(model, batch)
    first = clock()
    _check_numbers(model)
    began += clock() - first
    first = now = clock()
    steps, room = 0, context_length - len(prompt)
    while steps < min(DECODE_TOKENS, room) and (steps < LEAST_DECODE_TOKENS or now - first < DECODE_SECONDS):
        batch.add(prompt[steps % len(prompt)], len(prompt) + steps, 0)
        _decode(model, batch)
        now = clock()
        steps += 1
    model.forget_all()
    return (steps / (now - first) if steps else 0.0), (first - began) * 1000


def choose_threads(model: LoadedModel, batch: Batch, counts: Sequence[int]) -> Threads:
    """Try numbers of threads, the first of which is preferred: another one must be clearly faster.

    Raises:
        EngineError: With code ``model_unusable`` if llama.cpp can't run the model at all.
    """
    until = time.perf_counter() + TRIALS_SECONDS
    best = Threads(counts[0], counts[0])
    best_single_s = best_batch_s = math.inf
    for count in counts:
        if count != counts[0] and time.perf_counter() > until:
            break
        model.use_threads(Threads(count, count))
        single_s, batch_s = _trial(model, batch, 1), _trial(model, batch, PROMPT_TOKENS)
        if single_s < CLEARLY_FASTER * best_single_s:
            best, best_single_s = Threads(count, best.batch), single_s
        if batch_s < CLEARLY_FASTER * best_batch_s:
            best, best_batch_s = Threads(best.single, count), batch_s
    model.use_threads(best)
    return best


def _trial(model: LoadedModel, batch: Batch, rows: int) -> float:
    """Seconds of the fastest of some batches of so many tokens; the first one, which wakes the threads, is left out."""
    clock, fastest = time.perf_counter, math.inf
    vocabulary, began = model.vocabulary.size, clock()
    for trial in range(TRIALS + 1):
        model.forget_all()
        batch.add_prompt([(7 * index + 1) % vocabulary for index in range(rows)], 0, 0, last=True)
        start = clock()
        _decode(model, batch)
        if trial:
            fastest = min(fastest, clock() - start)
        if trial and clock() - began > TRIAL_SECONDS:
            break
    model.forget_all()
    return fastest


def _check_numbers(model: LoadedModel) -> None:
    """Broken weights spread over everything that is computed with them: such a model would end every answer at once."""
    logits = llama.llama_get_logits_ith(model.context, -1)
    if any(map(math.isnan, logits[: model.vocabulary.size])):
        raise EngineError("It computes no numbers: its weights are broken.", code="model_unusable")


def _decode(model: LoadedModel, batch: Batch) -> None:
    code = batch.decode(model.context)
    if code:
        raise EngineError(f"llama.cpp can't run this model (code {code}).", code="model_unusable")
    llama.llama_synchronize(model.context)
