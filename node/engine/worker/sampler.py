"""Draws the next token of one request: a llama.cpp sampler chain, and a format that the answer must keep to."""

from __future__ import annotations

import codecs
import ctypes
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from node.engine.protocol import EngineError
from node.engine.worker.native import llama
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import Sampling

MAX_GRAMMAR_STEP_S = 0.25
"""Processor time that a format may take for one token: an ordinary one takes about a thousandth of it."""
SLOW_DRAWS = 3
"""How many slower ones in a row end it: a machine that stops this process for a moment makes a single one slow."""
FAR_TOO_SLOW = 4
"""How many times slower a single one may be."""
_NEVER = float("-inf")
_MOST_DRAWS = 256
"""Draws among what the grammar takes until the bytes are text, too; a model that has learned to write needs one."""
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
        grammar: The format in GBNF, or nothing.
        bound: Whether the format holds already; a model that still thinks is free until it has closed its tag.
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
    ) -> None:
        # The format first: where it can't be built there is nothing to free.
        self._format = Format(grammar, vocabulary) if grammar else None
        self._bound = bound
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
        if self._format is None or not self._bound():
            return self._plain(context, row)
        token = self._format.draw(context, row, self._chain)
        llama.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free it."""
        llama.llama_sampler_free(self._chain)
        if self._format is not None:
            self._format.close()


class Format:
    """A grammar beside a chain, as llama.cpp's own programs hold it.

    A token is drawn from the chain first and kept if the grammar takes it: that costs next to nothing. Only where the
    grammar refuses it, the whole vocabulary is put through the grammar and the token is drawn again. A token is told to
    the grammar only after it was seen to take it, for llama.cpp ends the process otherwise.

    Raises:
        EngineError: With code ``bad_request`` if llama.cpp refuses the grammar.
    """

    def __init__(self, grammar: str, vocabulary: Vocabulary) -> None:
        native = llama.llama_sampler_init_grammar(vocabulary.native, grammar.encode(), b"root")
        if not native:
            raise EngineError("llama.cpp refuses the format of the answer.", code="bad_request")
        self._native: int = native
        self._size = vocabulary.size
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._banned: list[int] = []
        self._silent = frozenset(vocabulary.silent_tokens())
        self._ids: Any = None
        self._silent_ids: Any = None
        self._candidates = (llama.llama_token_data * vocabulary.size)()
        self._one = (llama.llama_token_data * 1)()
        self._time = time.thread_time
        self._slow_draws = 0

    def draw(self, context: int, row: int, chain: int) -> int:
        """The next token, drawn with a chain.

        Raises:
            EngineError: If no token fits, or the grammar takes too long.
        """
        logits = llama.llama_get_logits_ith(context, row)
        began = self._time()
        token = self._choose(chain, self._fill(logits))
        if not (self._grammar_takes(token) and self._is_text(token)):
            token = self._choose_again(logits, chain)
        before_accept = self._time()
        llama.llama_sampler_accept(self._native, token)
        self._decoder.decode(self._vocabulary.piece(token) or b"")
        self._check_pace(before_accept - began, self._time() - before_accept)
        return token

    def _check_pace(self, draw_s: float, accept_s: float) -> None:
        """Give up where the grammar, and not a moment of the machine's, is slow.

        What a token costs the grammar says what the next one may: one that grows is stopped while it is small.
        """
        # A large vocabulary takes longer to go through, however simple the grammar.
        slowness = max(draw_s / max(1.0, self._size / 32_768), 10 * accept_s) / MAX_GRAMMAR_STEP_S
        self._slow_draws = self._slow_draws + 1 if slowness > 1 else 0
        if self._slow_draws >= SLOW_DRAWS or slowness > FAR_TOO_SLOW:
            raise EngineError(
                "The format of the answer takes too much time to keep to.",
                code="bad_request",
                fix="Make the schema simpler.",
            )

    def _choose_again(self, logits: Any, chain: int) -> int:
        """Draw from what the grammar takes."""
        for _ in range(_MOST_DRAWS):
            array = self._fill(logits)
            llama.llama_sampler_apply(self._native, ctypes.byref(array))
            token = self._choose(chain, array)
            if not self._grammar_takes(token):
                break
            if self._is_text(token):
                self._banned.clear()
                return token
            self._banned.append(token)
        raise EngineError(
            "The model has no token that continues the format of the answer.",
            code="engine_failed",
            fix="Ask for another format.",
        )

    def _fill(self, logits: Any) -> Any:
        """Every token with its logit."""
        import numpy as np

        if self._ids is None:
            self._ids, self._silent_ids = (
                np.arange(self._size, dtype=np.int32),
                np.array(sorted(self._silent), np.int32),
            )
        candidates = np.frombuffer(self._candidates, dtype=_TOKEN_DATA)
        candidates["id"] = self._ids
        candidates["logit"] = np.ctypeslib.as_array(ctypes.cast(logits, _FLOATS), (self._size,))
        candidates["p"] = 0.0
        candidates["logit"][self._silent_ids] = _NEVER
        candidates["logit"][self._banned] = _NEVER
        return llama.llama_token_data_array(self._candidates, self._size, -1, False)

    def _choose(self, chain: int, array: Any) -> int:
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        selected = array.selected
        return int(array.data[selected].id) if selected >= 0 else -1

    def _grammar_takes(self, token: int) -> bool:
        if token < 0 or token in self._silent:
            return False
        self._one[0] = llama.llama_token_data(token, 1.0, 0.0)
        array = llama.llama_token_data_array(self._one, 1, -1, False)
        llama.llama_sampler_apply(self._native, ctypes.byref(array))
        return bool(self._one[0].logit != _NEVER)

    def _is_text(self, token: int) -> bool:
        """Whether its bytes go on as UTF-8: a grammar counts other bytes as characters that the text doesn't have."""
        before = self._decoder.getstate()
        try:
            self._decoder.decode(self._vocabulary.piece(token) or b"")
            pending = self._decoder.getstate()[0]
            # Python sees that these two begin half of a surrogate pair only with the third byte, when it is too late.
            return not (pending[:1] == b"\xed" and pending[1:] >= b"\xa0")
        except UnicodeDecodeError:
            return False
        finally:
            self._decoder.setstate(before)

    def close(self) -> None:
        """Free it."""
        llama.llama_sampler_free(self._native)
