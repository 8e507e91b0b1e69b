"""Measures how fast a loaded model is, in its own worker and with nothing else running there."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from node.engine.protocol import EngineError
from node.engine.threads import Threads
from node.engine.worker.batch import Batch
from node.engine.worker.model import LoadedModel
from node.engine.worker.native import llama

PROMPT_TOKENS = 16
DECODE_TOKENS = 32
LEAST_DECODE_TOKENS = 4
DECODE_SECONDS = 0.25
TRIALS = 10
TRIALS_SECONDS = 2.0
CLEARLY_FASTER = 0.93


def measure(model: LoadedModel, batch: Batch, context_length: int) -> tuple[float, float]:
    """Decode speed of one stream in tokens/s, and milliseconds to the first token of a short prompt.

    Args:
        model: What is loaded; nothing else uses it meanwhile.
        batch: An empty batch.
        context_length: Tokens that one request may have.

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

    They take turns, round after round, and the fastest time of each counts: where other programs take cores away for
    a while, that slows every number down alike, and never makes it faster.

    Args:
        model: What is loaded; nothing else uses it meanwhile.
        batch: An empty batch.
        counts: Numbers of threads to try, the preferred one first.

    Raises:
        EngineError: With code ``model_unusable`` if llama.cpp can't run the model at all.
    """
    clock = time.perf_counter
    until = clock() + TRIALS_SECONDS
    single_s, batch_s = dict.fromkeys(counts, math.inf), dict.fromkeys(counts, math.inf)
    for turn in range(TRIALS):
        for count in counts:
            if clock() > until and (turn or count != counts[0]):
                break
            model.use_threads(Threads(count, count))
            single_s[count] = min(single_s[count], _trial(model, batch, 1))
            batch_s[count] = min(batch_s[count], _trial(model, batch, PROMPT_TOKENS))
    best = Threads(clearly_fastest(single_s), clearly_fastest(batch_s))
    model.use_threads(best)
    return best


def clearly_fastest(seconds: Mapping[int, float]) -> int:
    """The first number of threads, or one that beats it, and those before, by more than chance does."""
    best, *others = seconds
    for count in others:
        if seconds[count] < CLEARLY_FASTER * seconds[best]:
            best = count
    return best


def _trial(model: LoadedModel, batch: Batch, rows: int) -> float:
    """Seconds of the faster of two batches of so many tokens, after one that wakes the threads."""
    clock, seconds = time.perf_counter, list[float]()
    vocabulary = model.vocabulary.size
    for _ in range(3):
        model.forget_all()
        batch.add_prompt([(7 * index + 1) % vocabulary for index in range(rows)], 0, 0, last=True)
        start = clock()
        _decode(model, batch)
        seconds.append(clock() - start)
    model.forget_all()
    return min(seconds[1:])


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
