"""Shapes written as a grammar in llama.cpp's notation (GBNF).

A value's rule takes no space around it; what holds values puts one space at most where JSON allows any. Numbers and
strings have as many digits as doubles tell apart, and each character of a `Spelled` string has one way to be written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.charsets import Chars, chars, common, complement, contains
from node.engine.worker.schema.shapes import (
    Distinct,
    Items,
    Plain,
    Record,
    Shape,
    Shared,
    Spelled,
    Table,
    Text,
    Tuple,
    Union,
    Values,
)

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
    "member": "string colon value",
    "object": '"{" space (member (comma member)* space)? "}"',
    "array": '"[" space (value (comma value)* space)? "]"',
    "value": "object | array | string | number | boolean | null",
}
_ESCAPES = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t"}
_RAW = complement(chars((ord(char), ord(char)) for char in _ESCAPES))


def gbnf(root: Shape, shared: Mapping[str, Shape]) -> str:
    """The grammar of a shape's values.

    Args:
        root: The shape.
        shared: The shapes that are referred to by name, here or in one another.
    """
    return _Writer(shared).grammar(root)


class _Writer:
    def __init__(self, shared: Mapping[str, Shape]) -> None:
        self._shared = shared
        self._shared_rules = {name: f"s{number}" for number, name in enumerate(shared)}
        self._rules: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._begun: dict[tuple[Automaton, bool], str] = {}

    def grammar(self, root: Shape) -> str:
        last = self._value(root)
        for name, shape in self._shared.items():
            self._rules[self._shared_rules[name]] = self._value(shape)
        rules = {"root": last} | self._rules | _BUILTIN
        return "\n".join(f"{name} ::= {text}" for name, text in rules.items()) + "\n"

    def _rule(self, text: str) -> str:
        """The name of a rule with a text; the same text has the same."""
        if text not in self._named:
            self._named[text] = f"r{len(self._named)}"
            self._rules[self._named[text]] = text
        return self._named[text]

    def _value(self, shape: Shape) -> str:
        match shape:
            case Plain(name):
                return name
            case Shared(name):
                return self._shared_rules[name]
            case Text(least, most):
                return self._rule(rf'"\"" char{_times(least, most)} "\""')
            case Values(values):
                return self._rule(" | ".join(_literal(_written(value)) for value in values))
            case Union(parts):
                return self._rule(" | ".join(dict.fromkeys(self._value(part) for part in parts)))
            case Spelled(found, quoted):
                return self._spelled(found, quoted)
            case Items(item, least, most):
                return self._rule(f'"[" space {_list_of(self._value(item), least, most)} "]"')
            case Distinct():
                return self._distinct(shape)
            case Tuple(items):
                inside = " comma ".join(self._value(item) for item in items)
                return self._rule(f'"[" space {inside} space "]"')
            case Table(name, value, least, most):
                member = self._rule(f"{self._value(name)} colon {'value' if value is None else self._value(value)}")
                return self._rule(f'"{{" space {_list_of(member, least, most)} "}}"')
            case Record():
                return self._record(shape)

    def _record(self, record: Record) -> str:
        """An object: a rule says what may follow once so many of its properties were written or passed over."""
        members = [
            self._rule(f"{_literal(_written(one.name))} colon {self._value(one.value)}") for one in record.properties
        ]
        counted = max(record.least, 1) if record.most is None else record.most + 1
        # By the count so far, from the last property to the first; nothing where the count can't be right any more.
        after: list[str | None] = [
            "space" if record.least <= count <= counted and count != _beyond(record) else None
            for count in range(counted + 1)
        ]
        for one, member in zip(reversed(record.properties), reversed(members), strict=True):
            before: list[str | None] = []
            for count in range(counted + 1):
                ways = [] if one.required else [after[count]]
                follows = after[min(count + 1, counted)]
                if follows is not None:
                    ways.append(f"{'comma ' if count else ''}{member} {follows}")
                found = list(dict.fromkeys(way for way in ways if way is not None))
                before.append(self._rule(" | ".join(found)) if found else None)
            after = before
        return self._rule(f'"{{" space {after[0]} "}}"')

    def _distinct(self, asked: Distinct) -> str:
        """An array: a rule says what may follow once some of the values were written."""
        known: dict[frozenset[int], str | None] = {}

        def after(used: frozenset[int]) -> str | None:
            if used not in known:
                ways = [r'space "]"'] if len(used) >= asked.least else []
                for place, value in enumerate(asked.values):
                    if place in used or len(used) == asked.most:
                        continue
                    follows = after(used | {place})
                    if follows is not None:
                        ways.append(f"{'comma ' if used else ''}{_literal(_written(value))} {follows}")
                known[used] = self._rule(" | ".join(ways)) if ways else None
            return known[used]

        return self._rule(f'"[" space {after(frozenset())}')

    def _spelled(self, found: Automaton, quoted: bool) -> str:
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


def _beyond(record: Record) -> int | None:
    """The count that stands for too many properties."""
    return None if record.most is None else record.most + 1


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def _list_of(item: str, least: int, most: int | None) -> str:
    """Items between brackets with what stands between them, and the space behind them."""
    if most == 0:
        return ""
    several = f"{item} (comma {item}){_times(max(least - 1, 0), None if most is None else most - 1)} space"
    return several if least else f"({several})?"


def _ways(some: list[Chars]) -> list[str]:
    """How a character of some sets is written in a string of JSON."""
    every = chars(one for part in some for one in part)
    raw = common(every, _RAW)
    ways = [f"[{''.join(_range(low, high) for low, high in raw)}]"] if raw else []
    escaped = "".join(short for char, short in _ESCAPES.items() if contains(every, ord(char)))
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


def _written(value: Any) -> str:
    """A value as JSON; half characters stay escaped, all others stand for themselves."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
