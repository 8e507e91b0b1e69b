"""Measures how fast a loaded model is, in its own worker and with nothing else running there."""

from __future__ import annotations

import time

from node.engine.protocol import EngineError
from node.engine.worker.batch import Batch
from node.engine.worker.model import LoadedModel
from node.engine.worker.native import llama

PROMPT_TOKENS = 16
DECODE_TOKENS = 32
LEAST_DECODE_TOKENS = 4
DECODE_SECONDS = 0.25


def measure(model: LoadedModel, batch: Batch, context_length: int) -> tuple[float, float]:
    """Decode speed of one stream in tokens/s, and milliseconds to the first token of a short prompt.

    Raises:
        EngineError: With code ``model_unusable`` if llama.cpp can't run the model at all.
    """
    clock = time.perf_counter
    vocabulary = model.vocabulary.size
    prompt = [(7 * index + 1) % vocabulary for index in range(min(PROMPT_TOKENS, max(1, context_length // 2)))]
    batch.add_prompt(prompt, 0, 0, last=True)
    began = clock()
    _decode(model, batch)
    first = now = clock()
    steps, room = 0, context_length - len(prompt)
    while steps < min(DECODE_TOKENS, room) and (steps < LEAST_DECODE_TOKENS or now - first < DECODE_SECONDS):
        batch.add(prompt[steps % len(prompt)], len(prompt) + steps, 0)
        _decode(model, batch)
        now = clock()
        steps += 1
    model.forget_all()
    return (steps / (now - first) if steps else 0.0), (first - began) * 1000


def _decode(model: LoadedModel, batch: Batch) -> None:
    code = batch.decode(model.context)
    if code:
        raise EngineError(f"llama.cpp can't run this model (code {code}).", code="model_unusable")
    llama.llama_synchronize(model.context)
