"""A model's tokens as llguidance walks them, and the masks it makes: which tokens may come next in an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.engine.protocol import EngineError

MAX_LEXER_STATES = 20_000
"""States of one answer's automata: each takes some 2 kB."""
MAX_STEP_ITEMS = 200_000
"""Items of llguidance's parser for one mask, some 0.3 µs each. Its own 50,000 are too few where an object has a hundred
properties that may be left out, and a token closes several of them."""
MAX_PIECE_BYTES = 512
"""Longer tokens have no place in a format: at 1,024 bytes llguidance ends the process."""
_NO_FORCING = '%llguidance {"no_forcing": true}\n'
"""Where only one text fits, the model chooses among its tokens; llguidance would have its tokenizer cut it."""
_SPECIAL = b"\xff"
"""What llguidance tells a token without text by: no UTF-8 has this byte."""
_NO_TOKEN = ("NoExtensionBias", "Parser Error: token")
"""How llguidance's line of an error begins where nothing fits; all others tell of a limit that was met."""


class _Tokens:
    """What llguidance asks of a tokenizer; it never has one cut a text, since nothing is forced."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: list[int], end: int) -> None:
        self.tokens = tokens
        self.special_token_ids = special
        self.eos_token_id = end

    def __call__(self, _text: Any) -> list[int]:
        return []


class TokenTable:
    """A vocabulary as a tree of bytes, made once a model and shared by its answers: some 3 µs a token.

    Args:
        pieces: By token, its bytes, or None if it ends an answer.
        silent: Tokens that stand for no text; no answer in a format has one.
    """

    def __init__(self, pieces: Sequence[bytes | None], silent: Sequence[int]) -> None:
        import llguidance
        import numpy as np

        self.size = len(pieces)
        ends = [token for token, piece in enumerate(pieces) if piece is None]
        long = (token for token, piece in enumerate(pieces) if piece and len(piece) > MAX_PIECE_BYTES)
        special = sorted({*silent, *ends, *long})
        tokens = [piece or b"" for piece in pieces]
        for token in special:
            tokens[token] = _SPECIAL + b"<%d>" % token
        if not ends:
            # A model that can't end its answers runs to their limit; llguidance needs to know an end all the same.
            tokens.append(_SPECIAL + b"end")
            ends = [self.size]
        # llguidance's annotation names a class of its own; it takes whatever has these attributes.
        found: Any = _Tokens(tokens, [*special, *ends], ends[0])
        self._native = llguidance.LLTokenizer(found, n_vocab=len(tokens), eos_token=ends)
        self._limits = llguidance.LLParserLimits(
            max_lexer_states=MAX_LEXER_STATES, step_max_items=MAX_STEP_ITEMS, verbose_errors=False
        )
        self._matcher = llguidance.LLMatcher
        self._bits = np.zeros((len(tokens) + 31) // 32, np.int32)
        self._room = self._bits.ctypes.data, self._bits.nbytes
        self._mask = self._bits.view(np.uint8)
        self._biases = np.full((self._mask.size, 8), -np.inf, np.float32)
        ones = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        self._bias_of = np.where(ones, np.float32(0), np.float32(-np.inf)).astype(np.float32)

    def matcher(self, grammar: str) -> Matcher:
        """Begin an answer.

        Args:
            grammar: In llguidance's notation, which begins with the rule ``start``.

        Raises:
            EngineError: With code ``bad_request`` if llguidance refuses the grammar.
        """
        native = self._matcher(self._native, _NO_FORCING + grammar, log_level=0, limits=self._limits)
        if native.is_error():
            raise EngineError("llguidance refuses the format of the answer.", code="bad_request")
        return Matcher(self, native)

    def biases(self, native: Any) -> Any:
        """Zero for each token that may come next and minus infinity for every other; valid until the next call."""
        import numpy as np

        native.unsafe_compute_mask_ptr(*self._room)
        np.take(self._bias_of, self._mask, axis=0, out=self._biases, mode="clip")
        return self._biases.reshape(-1)[: self.size]

    def allowed(self, native: Any) -> Any:
        """The tokens that may come next, in order."""
        import numpy as np

        native.unsafe_compute_mask_ptr(*self._room)
        return np.flatnonzero(np.unpackbits(self._mask, bitorder="little", count=self.size).view(np.bool_))


class Matcher:
    """Where one answer stands in its grammar; after an error it is of no use any more."""

    def __init__(self, table: TokenTable, native: Any) -> None:
        self._table = table
        self._native = native

    def best(self, logits: Any) -> int:
        """The token with the first of the largest logits among those that may come next.

        Raises:
            EngineError: If there is none, or the grammar takes too much work.
        """
        biased = self._table.biases(self._native)
        self._check()
        biased += logits
        return int(biased.argmax())

    def allowed(self) -> Any:
        """The tokens that may come next, as an array in order.

        Raises:
            EngineError: If there are none, or the grammar takes too much work.
        """
        tokens = self._table.allowed(self._native)
        self._check()
        return tokens

    def take(self, token: int) -> None:
        """Go on by a token that may come next.

        Raises:
            EngineError: If the grammar takes too much work.
        """
        self._native.consume_token(token)
        self._check()

    def _check(self) -> None:
        """Raise what went wrong: llguidance's mask lets an answer end then, whatever is missing."""
        if not self._native.is_error():
            return
        if not self._native.get_error().startswith(_NO_TOKEN):
            raise too_slow()
        raise EngineError(
            "The model has no token that continues the format of the answer.",
            code="engine_failed",
            fix="Ask for another format.",
        )


def too_slow() -> EngineError:
    """A format whose next token costs too much: it ends its own request."""
    return EngineError(
        "The format of the answer takes too much time to keep to.", code="bad_request", fix="Make the schema simpler."
    )
