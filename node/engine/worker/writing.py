"""Shapes written as rules of a grammar: what GBNF and Lark have in common.

A value's rule takes no space around it; what holds values puts one space at most where JSON allows any. Numbers and
strings have as many digits as doubles tell apart, and each character of a `Spelled` string has one way to be written.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from node.engine.worker.regular.charsets import Chars, chars, common, complement, contains
from node.engine.worker.schema.shapes import (
    Distinct,
    Plain,
    Record,
    Sequence,
    Shape,
    Shared,
    Spelled,
    Text,
    Union,
    Values,
)

ESCAPES = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t"}
"""Characters that JSON text writes with a backslash, and the letter behind it."""
ANY_VALUE = {
    "member": "string colon value",
    "object": '"{" space (member (comma member)* space)? "}"',
    "array": '"[" space (value (comma value)* space)? "]"',
    "value": "object | array | string | number | boolean | null",
}
"""Rules of any JSON value, which both notations write alike; a notation brings the rules that they name."""
_RAW = complement(chars((ord(char), ord(char)) for char in ESCAPES))


class Writer(ABC):
    """Writes one grammar; a notation says how a rule, a text and a value spelled by its characters are written.

    Args:
        shared: The shapes that are referred to by name.
    """

    root: ClassVar[str]
    """The name of the rule that a grammar begins with."""
    assign: ClassVar[str]
    """What stands between a rule's name and its text."""
    builtin: ClassVar[Mapping[str, str]]
    """Rules that any grammar has: one for each type, and ``space``, ``comma`` and ``colon``."""

    def __init__(self, shared: Mapping[str, Shape]) -> None:
        self._shared = shared
        self._shared_rules = {name: f"s{number}" for number, name in enumerate(shared)}
        self._rules: dict[str, str] = {}
        self._named: dict[str, str] = {}

    def grammar(self, root: Shape) -> str:
        """The grammar of a shape's values."""
        last = self._value(root)
        for name, shape in self._shared.items():
            self._rules[self._shared_rules[name]] = self._value(shape)
        rules = {self.root: last} | self._rules | dict(self.builtin)
        return "\n".join(f"{name} {self.assign} {text}" for name, text in rules.items()) + "\n"

    @abstractmethod
    def _text(self, least: int, most: int | None) -> str:
        """The text of a rule for strings by their length."""

    @abstractmethod
    def _spelled(self, shape: Spelled) -> str:
        """The name of a rule for a value spelled by its characters."""

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
                return self._rule(self._text(least, most))
            case Values(values):
                return self._rule(" | ".join(literal(_written(value)) for value in values))
            case Union(parts):
                return self._rule(" | ".join(dict.fromkeys(self._value(part) for part in parts)))
            case Spelled():
                return self._spelled(shape)
            case Sequence():
                return self._sequence(shape)
            case Distinct():
                return self._distinct(shape)
            case Record():
                return self._record(shape)

    def _sequence(self, row: Sequence) -> str:
        """An array: a rule says what may follow from each of its first items on."""
        rest = None if row.rest is None else self._value(row.rest)
        if row.held is not None:
            before, behind = ("", "") if rest is None else (f"({rest} comma)*", f"(comma {rest})*")
            return self._rule(f'"[" space {before} {self._value(row.held)} {behind} space "]"')
        size = len(row.first)
        follows = ""
        if rest is not None:
            most = None if row.most is None else row.most - size
            follows = self._list_of(rest, max(row.least - size, 0), most, behind=size > 0)
        for place in range(size - 1, -1, -1):
            text = f"{'comma ' if place else ''}{self._value(row.first[place])} {follows}"
            follows = self._rule(text) if place < row.least else self._rule(f"({text})?")
        return self._rule(f'"[" space {follows} space "]"')

    def _list_of(self, item: str, least: int, most: int | None, *, behind: bool) -> str:
        """Items with a comma between them, and one before the first where they stand behind something."""
        if most == 0:
            return ""
        if behind:
            return f"(comma {item}){self._times(least, most)}"
        more = (
            "" if most == 1 else f" (comma {item}){self._times(max(least - 1, 0), None if most is None else most - 1)}"
        )
        return f"{item}{more}" if least else f"({item}{more})?"

    def _times(self, least: int, most: int | None) -> str:
        """How often something stands."""
        return times(least, most)

    def _record(self, record: Record) -> str:
        """An object: a rule says what may follow once so many of its properties were written or passed over."""
        members = [
            self._rule(f"{literal(_written(one.name))} colon {self._value(one.value)}") for one in record.properties
        ]
        others = list(dict.fromkeys(f"{self._value(name)} colon {self._value(value)}" for name, value in record.others))
        other = self._rule(" | ".join(others)) if others else None
        counted = max(record.least, 1) if record.most is None else record.most + 1
        # By the count so far, from the last property to the first; nothing where the count can't be right any more.
        after = [self._after(record, count, counted, other) for count in range(counted + 1)]
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

    def _after(self, record: Record, count: int, counted: int, other: str | None) -> str | None:
        """What follows behind all declared properties, of which so many were written: nothing if that can't be."""
        if record.most is not None and count > record.most:
            return None
        missing = record.least - count
        if other is None:
            return "space" if missing <= 0 else None
        # Other properties may all have one name: together they count as one.
        if missing > 1:
            return None
        most = None if record.most is None else record.most - count
        listed = self._list_of(other, int(missing == 1), most, behind=count > 0)
        return self._rule(f"{listed} space")

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
                        ways.append(f"{'comma ' if used else ''}{literal(_written(value))} {follows}")
                known[used] = self._rule(" | ".join(ways)) if ways else None
            return known[used]

        return self._rule(f'"[" space {after(frozenset())}')


def times(least: int, most: int | None) -> str:
    """How often something stands, as both notations write it; no most is without end."""
    return f"{{{least},{'' if most is None else most}}}"


def literal(text: str) -> str:
    """A text between quotes, as both notations write it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def raw_and_escaped(some: Chars) -> tuple[Chars, str]:
    """How a set stands in a string of JSON: characters as they are, and the letters of those behind a backslash."""
    escaped = "".join(short for char, short in ESCAPES.items() if contains(some, ord(char)))
    return common(some, _RAW), escaped


def _written(value: Any) -> str:
    """A value as JSON; half characters and DEL are escaped, all others stand for themselves."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    # llguidance takes no DEL in a literal.
    return text.replace("\x7f", "\\u007f")
