"""Ways to hold an answer to a JSON schema, one beside the other: which token may come next, by whom and how fast."""

from __future__ import annotations

import ctypes
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from node.engine.protocol import EngineError
from node.engine.worker.gbnf import gbnf
from node.engine.worker.lark import lark
from node.engine.worker.native import llama, quiet_log
from node.engine.worker.schema.reducer import reduced
from node.engine.worker.tokens import Matcher, TokenTable
from node.engine.worker.vocabulary import Vocabulary

_TOKEN_DATA = [("id", "<i4"), ("logit", "<f4"), ("p", "<f4")]
_OPTIONS = {"whitespace_flexible": False, "whitespace_pattern": " ", "lenient": False, "coerce_one_of": False}
"""llguidance's reading of a schema at its strictest, with as much space as our own grammars have."""


class Held(AbstractContextManager["Held"], ABC):
    """One answer on its way."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def allowed(self) -> NDArray[Any]:
        """The tokens that may come next."""

    @abstractmethod
    def take(self, token: int) -> None:
        """Go on by one of them."""

    def close(self) -> None:
        """Free it."""


class Side(Protocol):
    """A way to hold answers to schemas."""

    name: str

    def grammar(self, schema: str) -> str:
        """The grammar of a schema.

        Raises:
            EngineError: If there is none.
        """
        ...

    def begin(self, grammar: str) -> Held:
        """Begin an answer.

        Raises:
            EngineError: If the grammar is refused.
        """
        ...


def load_vocabulary(model: Path) -> Vocabulary:
    """A model's vocabulary without its weights."""
    quiet_log()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    return Vocabulary(llama.llama_model_load_from_file(str(model).encode(), params))


def sides(vocabulary: Vocabulary) -> list[Side]:
    """All of them over one vocabulary: what the worker does, what it did before, and llguidance left to itself."""
    return [
        _Masked("reducer, llguidance", vocabulary.table, _by_reducer),
        _LlamaSide(vocabulary),
        _Masked("llguidance alone", vocabulary.table, _by_llguidance),
    ]


def _by_reducer(schema: str) -> str:
    found = reduced(schema)
    return lark(found.root, found.shared)


def _by_llguidance(schema: str) -> str:
    # Its options stand in the schema, so one that is true or false needs something around it.
    whole = json.loads(schema)
    if not isinstance(whole, dict):
        whole = {"allOf": [whole]}
    return f"start: %json {json.dumps(whole | {'x-guidance': _OPTIONS})}"


class _Masked:
    def __init__(self, name: str, table: TokenTable, make: Callable[[str], str]) -> None:
        self.name = name
        self._table = table
        self._make = make

    def grammar(self, schema: str) -> str:
        made = self._make(schema)
        self._table.matcher(made)
        return made

    def begin(self, grammar: str) -> Held:
        return _MaskHeld(self._table.matcher(grammar))


class _MaskHeld(Held):
    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def allowed(self) -> NDArray[Any]:
        tokens: NDArray[Any] = self._matcher.allowed()
        return tokens

    def take(self, token: int) -> None:
        self._matcher.take(token)


class _LlamaSide:
    name = "reducer, llama.cpp"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._data = (llama.llama_token_data * vocabulary.size)()
        self._view = np.frombuffer(self._data, dtype=_TOKEN_DATA)
        self._ids = np.arange(vocabulary.size, dtype=np.int32)
        self._silent = vocabulary.silent_tokens()

    def grammar(self, schema: str) -> str:
        found = reduced(schema)
        made = gbnf(found.root, found.shared)
        self.begin(made).close()
        return made

    def begin(self, grammar: str) -> Held:
        native = llama.llama_sampler_init_grammar(self._vocabulary.native, grammar.encode(), b"root")
        if not native:
            raise EngineError("llama.cpp refuses the grammar.", code="bad_request")
        return _LlamaHeld(self, native)

    def allowed(self, native: int) -> NDArray[Any]:
        self._view["id"], self._view["logit"] = self._ids, 0.0
        array = llama.llama_token_data_array(self._data, self._ids.size, -1, False)
        llama.llama_sampler_apply(native, ctypes.byref(array))
        self._view["logit"][self._silent] = -np.inf
        return np.flatnonzero(self._view["logit"] == 0.0)


class _LlamaHeld(Held):
    def __init__(self, side: _LlamaSide, native: int) -> None:
        self._side = side
        self._native = native

    def allowed(self) -> NDArray[Any]:
        return self._side.allowed(self._native)

    def take(self, token: int) -> None:
        llama.llama_sampler_accept(self._native, token)

    def close(self) -> None:
        llama.llama_sampler_free(self._native)
