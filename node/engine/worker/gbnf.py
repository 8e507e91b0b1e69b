"""Shapes written in llama.cpp's notation (GBNF), for the servers of llama.cpp that take a grammar."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.charsets import Chars, union
from node.engine.worker.regular.expression import Search, texts
from node.engine.worker.schema.shapes import Distinct, Plain, Sequence, Shape, Shared, Spelled, Union
from node.engine.worker.writing import ANY_VALUE, Writer, raw_and_escaped, times

MAX_TIMES = 1_000
"""How often llama.cpp's grammars may repeat something: they write it out that many times."""
_HEX = "[0-9a-fA-F]"
_BUILTIN = {
    # Control characters can't stand in JSON text, and half of a surrogate pair is no text.
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" '
    f"([0-9a-ce-fA-CE-F] {_HEX} {_HEX} {_HEX} | [dD] [0-7] {_HEX} {_HEX}))",
    "space": '" "?',
    "comma": 'space "," space',
    "colon": 'space ":" space',
    "whole": '"0" | [1-9] [0-9]{0,15}',
    "string": r'"\"" char* "\""',
    "number": '"-"? whole ("." [0-9]{1,16})? ([eE] [-+]? [0-9] [0-9]?)?',
    "integer": '"-"? whole',
    "boolean": '"true" | "false"',
    "null": '"null"',
    **ANY_VALUE,
}


def gbnf(root: Shape, shared: Mapping[str, Shape]) -> str:
    """The grammar of a shape's values.

    Args:
        root: The shape.
        shared: The shapes that are referred to by name, here or in one another.

    Raises:
        EngineError: With code ``bad_request`` if llama.cpp can't be held to it.
    """
    for one in (root, *shared.values()):
        if isinstance(one, Union) and _arrays(one, shared, frozenset()) > 1:
            raise EngineError(
                "For llama.cpp anyOf may offer one kind of array: give its items an anyOf instead.",
                code="bad_request",
                fix="Change the schema.",
            )
    return _Gbnf(shared).grammar(root)


def _arrays(shape: Shape, shared: Mapping[str, Shape], seen: frozenset[str]) -> int:
    """How many kinds of array a value of a shape may be: each opening bracket would multiply what llama.cpp keeps."""
    match shape:
        case Union(parts):
            return sum(_arrays(one, shared, seen) for one in parts)
        case Shared(name):
            return 0 if name in seen else _arrays(shared[name], shared, seen | {name})
        case Plain("array" | "value") | Sequence() | Distinct():
            return 1
    return 0


class _Gbnf(Writer):
    root = "root"
    assign = "::="
    builtin = _BUILTIN

    def __init__(self, shared: Mapping[str, Shape]) -> None:
        super().__init__(shared)
        self._begun: dict[tuple[Automaton, bool], str] = {}

    def _text(self, least: int, most: int | None) -> str:
        return rf'"\"" char{self._times(least, most)} "\""'

    def _times(self, least: int, most: int | None) -> str:
        if max(least, most or 0) > MAX_TIMES:
            raise EngineError(
                f"llama.cpp's server can be held to {MAX_TIMES} items or characters.",
                code="bad_request",
                fix="Change the schema.",
            )
        return times(least, most)

    def _spelled(self, shape: Spelled) -> str:
        """An automaton: a rule says what may follow in each of its states."""
        quoted = shape.quoted
        found = _automaton(shape.search) if shape.search is not None else shape.found
        if found is None:
            raise TypeError(shape)
        if (found, quoted) in self._begun:
            return self._begun[found, quoted]
        prefix = f"a{len(self._begun)}x"
        for state, steps in enumerate(found.steps):
            targets: dict[int, list[Chars]] = {}
            for place, target in steps:
                targets.setdefault(target, []).append(found.alphabet[place])
            ways = [f"{way} {prefix}{to}" for to, some in targets.items() for way in _ways(some)]
            if state in found.ends:
                ways.append(r'"\""' if quoted else '""')
            self._rules[f"{prefix}{state}"] = " | ".join(ways)
        self._begun[found, quoted] = self._rule(rf'"\"" {prefix}0') if quoted else f"{prefix}0"
        return self._begun[found, quoted]


@lru_cache(256)
def _automaton(search: Search) -> Automaton:
    what = "a pattern, a format or the names of properties, written for llama.cpp"
    return texts(search.expressions, search.least, search.most, what, without=search.without, excluded=search.excluded)


def _ways(some: list[Chars]) -> list[str]:
    """How a character of some sets is written in a string of JSON."""
    raw, escaped = raw_and_escaped(union(*some))
    ways = [f"[{''.join(_range(low, high) for low, high in raw)}]"] if raw else []
    if escaped:
        ways.append(f'"\\\\" [{"".join(_code(ord(char)) for char in escaped)}]')
    return ways


def _range(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _code(code: int) -> str:
    char = chr(code)
    if char.isascii() and char.isalnum():
        return char
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
