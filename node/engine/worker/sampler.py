"""Draws the next token of one request: a llama.cpp sampler chain, and a format that the answer must keep to."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from node.engine.worker.native import llama
from node.engine.worker.tokens import too_slow
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import Sampling

MAX_GRAMMAR_STEP_S = 0.25
"""Processor time that a format may take for one token: an ordinary one takes about a thousandth of it."""
SLOW_DRAWS = 3
"""How many slower ones in a row end it: a machine that stops this process for a moment makes a single one slow."""
FAR_TOO_SLOW = 4
"""How many times slower a single one may be."""
_FLOATS = ctypes.POINTER(ctypes.c_float)
_TOKEN_DATA = [("id", "<i4"), ("logit", "<f4"), ("p", "<f4")]


def build_chain(sampling: Sampling, *, seed: int, vocabulary_size: int, max_tokens: int) -> int:
    """A llama.cpp sampler chain, to be freed with ``llama_sampler_free``.

    The order is llama.cpp's own: logit bias, penalties, top-k, typical, top-p, min-p, temperature, then the draw; at
    temperature 0 the best token is taken. Penalties look at the whole answer, as OpenAI's do, and not at the prompt.
    """
    params = llama.llama_sampler_chain_default_params()
    params.no_perf = True
    chain: int = llama.llama_sampler_chain_init(params)

    def add(sampler: int) -> None:
        llama.llama_sampler_chain_add(chain, sampler)

    if sampling.logit_bias:
        biases = (llama.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
        add(llama.llama_sampler_init_logit_bias(vocabulary_size, len(biases), biases))
    repeat, frequency, presence = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
    if repeat != 1.0 or frequency != 0.0 or presence != 0.0:
        add(llama.llama_sampler_init_penalties(vocabulary_size, max_tokens, repeat, frequency, presence))
    if sampling.temperature == 0.0:
        add(llama.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        add(llama.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1.0:
        add(llama.llama_sampler_init_typical(sampling.typical_p, 1))
    if sampling.top_p < 1.0:
        add(llama.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        add(llama.llama_sampler_init_min_p(sampling.min_p, 1))
    add(llama.llama_sampler_init_temp(sampling.temperature))
    add(llama.llama_sampler_init_dist(seed))
    return chain


def takes_the_best(sampling: Sampling) -> bool:
    """Whether the most likely token is always the next one."""
    neutral = sampling.frequency_penalty == 0.0 == sampling.presence_penalty and sampling.repeat_penalty == 1.0
    return sampling.temperature == 0.0 and neutral and not sampling.logit_bias


def best_token(context: int, row: int, *, size: int) -> int:
    """What llama.cpp's greedy sampler draws, the first of the largest logits, without its list of all candidates.

    That list costs most of a millisecond for a vocabulary of 150,000.
    """
    import numpy as np

    pointer = ctypes.cast(llama.llama_get_logits_ith(context, row), _FLOATS)
    return int(np.ctypeslib.as_array(pointer, (size,)).argmax())


class Sampler:
    """Draws the tokens of one answer; `close` frees what llama.cpp holds for it.

    Args:
        sampling: How tokens are drawn.
        grammar: The format in llguidance's notation, or nothing.
        bound: Whether the format holds already; a model that still thinks is free until its answer begins.
        begins_answer: Whether a token that was drawn freely would be the answer's first: then it is drawn again.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        seed: int,
        vocabulary: Vocabulary,
        max_tokens: int,
        grammar: str = "",
        bound: Callable[[], bool] = lambda: True,
        begins_answer: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        # The format first: where it can't be built there is nothing to free.
        self._format = Format(grammar, vocabulary, greedy=takes_the_best(sampling)) if grammar else None
        self._bound = bound
        self._begins_answer = begins_answer
        self._chain = build_chain(sampling, seed=seed, vocabulary_size=vocabulary.size, max_tokens=max_tokens)
        plain: Callable[[int, int], int] = partial(llama.llama_sampler_sample, self._chain)
        self._plain = plain
        best = partial(best_token, size=vocabulary.size) if takes_the_best(sampling) else plain
        self.draw: Callable[[int, int], int] = best if self._format is None else self._draw_in_format
        """The next token after a row of a context's last batch.

        Raises:
            EngineError: If the format can't be kept.
        """

    def _draw_in_format(self, context: int, row: int) -> int:
        assert self._format is not None
        if not self._bound():
            token = self._plain(context, row)
            if not self._begins_answer(token):
                return token
        return self._format.draw(context, row, self._chain)

    def close(self) -> None:
        """Free it."""
        llama.llama_sampler_free(self._chain)


class Format:
    """A grammar beside a chain: the chain draws among the tokens that the grammar lets through.

    Args:
        grammar: The format in llguidance's notation.
        vocabulary: The model's.
        greedy: Whether the most likely token is always the next one.

    Raises:
        EngineError: With code ``bad_request`` if llguidance refuses the grammar.
    """

    def __init__(self, grammar: str, vocabulary: Vocabulary, *, greedy: bool = False) -> None:
        self._matcher = vocabulary.table.matcher(grammar)
        self._size = vocabulary.size
        self._piece = vocabulary.piece
        self._greedy = greedy
        self._candidates: Any = None
        self._time = time.thread_time
        self._slow_draws = 0

    def draw(self, context: int, row: int, chain: int) -> int:
        """The next token, drawn with a chain and told to it.

        Raises:
            EngineError: If no token fits, or the grammar takes too long.
        """
        pointer = ctypes.cast(llama.llama_get_logits_ith(context, row), _FLOATS)
        began = self._time()
        token = self._choose(pointer, chain)
        if self._piece(token) is not None:
            self._matcher.take(token)
        self._check_pace(self._time() - began)
        return token

    def _choose(self, pointer: Any, chain: int) -> int:
        import numpy as np

        logits = np.ctypeslib.as_array(pointer, (self._size,))
        if self._greedy:
            return self._matcher.best(logits)
        array = self._fill(self._matcher.allowed(), logits)
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        llama.llama_sampler_accept(chain, token)
        return token

    def _fill(self, tokens: Any, logits: Any) -> Any:
        """The tokens that fit, with their logits."""
        import numpy as np

        if self._candidates is None:
            self._candidates = (llama.llama_token_data * self._size)()
        candidates = np.frombuffer(self._candidates, dtype=_TOKEN_DATA, count=tokens.size)
        candidates["id"] = tokens
        candidates["logit"] = logits[tokens]
        candidates["p"] = 0.0
        return llama.llama_token_data_array(self._candidates, tokens.size, -1, False)

    def _check_pace(self, took_s: float) -> None:
        """Give up where the grammar, and not a moment of the machine's, is slow."""
        # A large vocabulary takes longer to draw from, however simple the grammar.
        slowness = took_s / max(1.0, self._size / 32_768) / MAX_GRAMMAR_STEP_S
        self._slow_draws = self._slow_draws + 1 if slowness > 1 else 0
        if self._slow_draws >= SLOW_DRAWS or slowness > FAR_TOO_SLOW:
            raise too_slow()
