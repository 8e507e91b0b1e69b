"""Log-probabilities from a row of logits: the model's own distribution, before any sampler changed it."""

from __future__ import annotations

import ctypes

from node.engine.worker.native import llama
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import MAX_TOKEN_BYTES, TokenLogprob, TopLogprob

_FLOATS = ctypes.POINTER(ctypes.c_float)
_LEAST = -1e9
"""Used for the logarithm of zero: JSON has no infinity."""


def token_logprob(context: int, row: int, token: int, top: int, vocabulary: Vocabulary) -> TokenLogprob:
    """How likely `token` was after a row of the last batch, and the `top` most likely tokens, best first.

    The natural log-softmax of the raw logits, as OpenAI's and llama-server's default: bias, penalties, format and
    temperature change what is drawn and not what is reported.

    Args:
        context: llama.cpp's pointer to the context.
        row: The row of its last batch.
        token: The token that was drawn or given.
        top: Alternatives to report.
        vocabulary: The model's.
    """
    import numpy as np

    pointer = ctypes.cast(llama.llama_get_logits_ith(context, row), _FLOATS)
    logits = np.ctypeslib.as_array(pointer, (vocabulary.size,)).astype(np.float64)
    logits -= logits.max()
    logits -= np.log(np.exp(logits).sum())

    def one(index: int) -> TopLogprob:
        return TopLogprob(index, _piece(vocabulary, index), min(0.0, max(_LEAST, float(logits[index]))))

    count = min(top, vocabulary.size)
    best = np.argpartition(-logits, count - 1)[:count] if count else np.empty(0, dtype=np.intp)
    ordered = sorted(best.tolist(), key=lambda index: (-logits[index], index))
    chosen = one(token)
    return TokenLogprob(token, chosen.data, chosen.logprob, tuple(one(index) for index in ordered))


def _piece(vocabulary: Vocabulary, token: int) -> bytes:
    return (vocabulary.piece(token) or b"")[:MAX_TOKEN_BYTES]
