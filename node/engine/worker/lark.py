r"""Shapes written in llguidance's notation, a variant of Lark, by which this node's own worker holds an answer.

Whatever is spelled by its characters is a regular expression (a lexeme): llguidance walks the vocabulary with an
automaton there, and with its parser only between lexemes. Source: llguidance's "Syntax of LLGuidance Grammars".
"""

from __future__ import annotations

from collections.abc import Mapping

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.charsets import TEXT, Chars, common, contains, listed, union
from node.engine.worker.regular.edges import Anchored, anchored
from node.engine.worker.regular.expression import Choice, Edge, Expression, OneOf, Repeat, Row, Search
from node.engine.worker.schema.shapes import Shape, Spelled
from node.engine.worker.writing import ANY_VALUE, Writer, raw_and_escaped, times

_HEX = "[0-9a-fA-F]"
# Control characters can't stand in JSON text, and half of a surrogate pair is no text.
_CHAR = rf'(?:[^"\\\x00-\x1F\x7F]|\\(?:["\\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}})))'
_WHOLE = "(?:0|[1-9][0-9]{0,15})"
_BUILTIN = {
    "space": "/ ?/",
    "comma": "/ ?, ?/",
    "colon": "/ ?: ?/",
    "string": f'/"{_CHAR}*"/',
    "number": rf"/-?{_WHOLE}(?:\.[0-9]{{1,16}})?(?:[eE][-+]?[0-9][0-9]?)?/",
    "integer": f"/-?{_WHOLE}/",
    "boolean": "/true|false/",
    "null": '"null"',
    **ANY_VALUE,
}


def lark(root: Shape, shared: Mapping[str, Shape]) -> str:
    """The grammar of a shape's values.

    Args:
        root: The shape.
        shared: The shapes that are referred to by name, here or in one another.
    """
    return _Lark(shared).grammar(root)


class _Lark(Writer):
    root = "start"
    assign = ":"
    builtin = _BUILTIN

    def __init__(self, shared: Mapping[str, Shape]) -> None:
        super().__init__(shared)
        self._begun: dict[Spelled, str] = {}

    def _text(self, least: int, most: int | None) -> str:
        return f'/"{_CHAR}{times(least, most)}"/'

    def _spelled(self, shape: Spelled) -> str:
        if shape not in self._begun:
            name = f"T{len(self._begun)}"
            if shape.found is not None:
                self._rules |= _states(shape.found, name)
                self._begun[shape] = self._rule(f"{name}X0")
            elif shape.search is not None:
                self._rules[name] = _search(shape.search)
                self._begun[shape] = self._rule(name)
        return self._begun[shape]


def _states(found: Automaton, prefix: str) -> dict[str, str]:
    """An automaton without loops as terminals, one a state: shared where they meet, as they are when compiled."""
    made = {}
    for state, steps in enumerate(found.steps):
        targets: dict[int, list[Chars]] = {}
        for place, target in steps:
            targets.setdefault(target, []).append(found.alphabet[place])
        ways = [f"/{_any_of(union(*some))}/ {prefix}X{to}" for to, some in targets.items()]
        made[f"{prefix}X{state}"] = " | ".join([*ways, '""'] if state in found.ends else ways)
    return made


def _search(sought: Search) -> str:
    """A string in which several expressions are found, with a length."""
    parts = [f"/{'|'.join(map(_quoted, anchored(one)))}/" for one in sought.expressions]
    if sought.least or sought.most is not None or not parts:
        parts.append(f'/"{_any_of(TEXT)}{times(sought.least, sought.most)}"/')
    parts += [f"~/{'|'.join(map(_quoted, anchored(one)))}/" for one in sought.without]
    names = [_literal(text) for text in sought.excluded if all(contains(TEXT, ord(char)) for char in text)]
    if names:
        parts.append(f'~/"(?:{"|".join(names)})"/')
    return " & ".join(parts)


def _literal(text: str) -> str:
    return "".join(_any_of(listed(char)) for char in text)


def _quoted(one: Anchored) -> str:
    rest = f"{_any_of(TEXT)}*"
    return f'"{"" if one.at_start else rest}{_regex(one.part)}{"" if one.at_end else rest}"'


def _regex(one: Expression) -> str:
    match one:
        case OneOf(some):
            return _any_of(some)
        case Row(parts):
            return "".join(map(_regex, parts))
        case Choice(parts):
            return f"(?:{'|'.join(map(_regex, parts))})"
        case Repeat(part, least, most):
            return f"(?:{_regex(part)}){times(least, most)}"
        case Edge():
            raise TypeError(one)


def _any_of(some: Chars) -> str:
    """A character of a set, as it is written in a string of JSON."""
    raw, escaped = raw_and_escaped(common(some, TEXT))
    ways = [f"[{''.join(_range(low, high) for low, high in raw)}]"] if raw else []
    if escaped:
        ways.append(rf"\\[{''.join(_code(ord(char)) for char in escaped)}]")
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _range(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _code(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\x{{{code:X}}}"
