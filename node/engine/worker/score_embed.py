"""Scores and embeddings: work beside the streams, in a context of its own, a small piece at a time.

A context of its own keeps what an audit sees apart from what runs at that moment, and costs memory only while it is
needed; where memory is short then, the work is refused and the streams go on. The loop asks for one piece between two
batches, so that a stream waits for no more than that.
"""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.worker.batch import Batch
from node.engine.worker.extra_context import NewContext, Weights, make_context
from node.engine.worker.logprobs import token_logprob
from node.engine.worker.native import llama
from node.models.fit import available_memory_bytes
from node.models.work_space import (
    MAX_EMBED_SEQUENCES,
    MAX_EMBED_TOKENS,
    SCORE_PIECE_ROWS,
    SCORE_PIECE_TOKENS,
    embed_context,
    score_context,
)
from node.values.inference import ChatMessage, TokenLogprob

MAX_QUEUED = 64


class ScoreEmbedQueue:
    """A queue of scores and embeddings, done in order.

    Args:
        weights: What is loaded.
        config: The frame that began it all.
        tokens_of: Makes tokens of a conversation.
        available_memory_bytes: Tells the main memory that a context of its own may take.
    """

    def __init__(
        self,
        weights: Weights,
        config: ipc.Load,
        tokens_of: Callable[[Sequence[ChatMessage]], list[int]],
        available_memory_bytes: Callable[[], int] = available_memory_bytes,
    ) -> None:
        self._weights = weights
        self._new_context = functools.partial(make_context, weights, config, available_memory_bytes)
        self._config = config
        self._tokens_of = tokens_of
        self._jobs: deque[_Score | _Embed] = deque()

    @property
    def waiting(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._jobs)

    def submit(self, frame: ipc.Score | ipc.Embed) -> None:
        """Put work into the queue.

        Raises:
            EngineError: If it can't be done.
        """
        if len(self._jobs) >= MAX_QUEUED:
            raise EngineError(
                "Too many scores and embeddings wait here.", code="engine_busy", fix="Try again in a moment."
            )
        if isinstance(frame, ipc.Score):
            vocabulary = self._weights.vocabulary
            prompt = self._tokens_of(frame.messages) if frame.messages else list(frame.prompt_tokens)
            given = list(frame.tokens) if frame.text is None else vocabulary.tokenize(frame.text, special=False)
            self._jobs.append(_Score(self._weights, self._config, self._new_context, frame, prompt, given))
        else:
            self._jobs.append(_Embed(self._weights, self._config, self._new_context, frame))

    def step(self) -> ipc.FromWorker | None:
        """Do one piece of the oldest work; returns its answer when it is complete."""
        job = self._jobs[0]
        answer: ipc.FromWorker | None
        try:
            answer = job.step()
        except EngineError as error:
            answer = ipc.Refused(job.ticket, error.code, error.message, error.fix)
        if answer is not None:
            self._jobs.popleft().close()
        return answer

    def cancel(self, ticket: int) -> None:
        """Forget a piece of work, if it is still here."""
        for job in [job for job in self._jobs if job.ticket == ticket]:
            job.close()
            self._jobs.remove(job)

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        while self._jobs:
            self._jobs.popleft().close()


class _Score:
    """One prompt and completion, read in one go; only the completion's positions have logits."""

    def __init__(
        self,
        weights: Weights,
        config: ipc.Load,
        new_context: NewContext,
        frame: ipc.Score,
        prompt: list[int],
        given: list[int],
    ) -> None:
        if not prompt or not given:
            raise EngineError("A score needs a prompt and a completion.", code="bad_request")
        length, room = len(prompt) + len(given), config.fit.context_length
        if length > room:
            raise EngineError(
                f"Prompt and completion have {length} tokens, and the model's context holds {room}.",
                code="context_too_long",
                fix="Score a shorter one.",
            )
        self.ticket = frame.ticket
        self._weights = weights
        self._config = config
        self._new_context = new_context
        self._tokens = prompt + given
        self._prompt_tokens = len(prompt)
        self._top_k = frame.top_k
        self._at = 0
        self._scored: list[TokenLogprob] = []
        self._context = 0
        self._batch = Batch(SCORE_PIECE_TOKENS, 1)

    def step(self) -> ipc.FromWorker | None:
        tokens = self._tokens
        # The last token predicts nothing that was asked for.
        end, first_row = len(tokens) - 1, self._prompt_tokens - 1
        if not self._context:
            shape = score_context(len(tokens), flash_attention=self._config.fit.flash_attention)
            self._context = self._new_context(shape)
        start = self._at
        if start < first_row:
            stop = min(start + SCORE_PIECE_TOKENS, first_row)
            self._batch.add_prompt(tokens[start:stop], start, 0, last=False)
        else:
            stop = min(start + SCORE_PIECE_ROWS, end)
            for position in range(start, stop):
                self._batch.add(tokens[position], position, 0)
        _must_run(self._batch, self._context)
        if start >= first_row:
            self._scored += [
                token_logprob(self._context, row, tokens[start + row + 1], self._top_k, self._weights.vocabulary)
                for row in range(stop - start)
            ]
        self._at = stop
        return ipc.ScoreDone(self.ticket, self._prompt_tokens, tuple(self._scored)) if stop == end else None

    def close(self) -> None:
        if self._context:
            llama.llama_free(self._context)
            self._context = 0


class _Embed:
    """Texts to turn into vectors, as many at a time as fit together."""

    def __init__(self, weights: Weights, config: ipc.Load, new_context: NewContext, frame: ipc.Embed) -> None:
        self.ticket = frame.ticket
        self._weights = weights
        self._new_context = new_context
        vocabulary = weights.vocabulary
        self._texts = [vocabulary.tokenize(text, special=False, whole=True) for text in frame.texts]
        if not all(self._texts):
            raise EngineError("There is nothing in a text to embed.", code="bad_request")
        self._longest = max(map(len, self._texts))
        most = min(config.fit.context_length, MAX_EMBED_TOKENS)
        if self._longest > most:
            raise EngineError(
                f"A text has {self._longest} tokens, and this model embeds up to {most}.",
                code="context_too_long",
                fix="Divide it.",
            )
        self._shape = embed_context(self._longest, flash_attention=config.fit.flash_attention)
        self._room = self._shape.cells
        self._batch = Batch(self._room, MAX_EMBED_SEQUENCES)
        self._done = 0
        self._vectors = array("f")
        self._context = 0

    def step(self) -> ipc.FromWorker | None:
        if not self._context:
            self._context = self._make()
        count = rows = 0
        for text in self._texts[self._done : self._done + MAX_EMBED_SEQUENCES]:
            if rows + len(text) > self._room:
                break
            for position, token in enumerate(text):
                # Every token is an output here: pooling takes all of them.
                self._batch.add(token, position, count)
            count, rows = count + 1, rows + len(text)
        memory = llama.llama_get_memory(self._context)
        if memory:
            llama.llama_memory_clear(memory, True)
        _must_run(self._batch, self._context)
        for sequence in range(count):
            self._vectors.extend(_normalised(self._context, sequence, embedding_length(self._weights.model)))
        self._done += count
        if self._done < len(self._texts):
            return None
        return ipc.EmbedDone(self.ticket, self._vectors.tobytes(), tuple(map(len, self._texts)))

    def _make(self) -> int:
        context = self._new_context(self._shape, llama.LLAMA_POOLING_TYPE_UNSPECIFIED)
        pooling = llama.llama_pooling_type(context)
        if pooling == llama.LLAMA_POOLING_TYPE_NONE:
            llama.llama_free(context)
            context = self._new_context(self._shape, llama.LLAMA_POOLING_TYPE_MEAN)
        return context

    def close(self) -> None:
        if self._context:
            llama.llama_free(self._context)
            self._context = 0


def embedding_length(model: int) -> int:
    """Numbers in a vector of this model."""
    return int(llama.llama_model_n_embd_out(model))


def _must_run(batch: Batch, context: int) -> None:
    if code := batch.decode(context):
        raise EngineError(f"llama.cpp could not compute this (code {code}).", code="engine_failed", fix="Try again.")
    llama.llama_synchronize(context)


def _normalised(context: int, sequence: int, length: int) -> array[float]:
    import numpy as np

    pointer = llama.llama_get_embeddings_seq(context, sequence)
    if not pointer:
        raise EngineError("The model gives no vector for a text.", code="engine_failed")
    vector = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (length,)).astype(np.float64)
    size = float(np.linalg.norm(vector))
    if not np.isfinite(size):
        raise EngineError("The model gives no finite vector for a text.", code="engine_failed")
    return array("f", (vector / size if size else vector).astype(np.float32).tobytes())
