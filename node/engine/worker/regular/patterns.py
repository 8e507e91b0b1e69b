r"""Read a schema's ``pattern``: the part of ECMAScript's regular expressions that an automaton can hold.

Validators differ in what ``\d``, ``\w``, ``\s`` and the dot mean beyond ASCII, so each set is kept twice: what all
of them take, and what any of them may take. An answer has only the former, and a negated set leaves out the latter.
Source: ECMA-262, "Patterns", as with the ``u`` flag, which JSON Schema recommends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from node.engine.protocol import EngineError
from node.engine.worker.regular.charsets import TEXT, Chars, chars, common, complement, listed, union
from node.engine.worker.regular.expression import Choice, Edge, Expression, OneOf, Repeat, Row

MAX_PATTERN_CHARS = 2_000
MAX_NESTING = 40
MAX_TIMES = 1_000

_DIGITS = chars([(0x30, 0x39)])
_WORD = union(_DIGITS, chars([(0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]))
# Blocks of letters without a single digit: Latin to Hebrew, kana and Han, Hangul.
_NO_DIGITS = union(common(complement(_DIGITS), chars([(0x00, 0x65F)])), chars([(0x3000, 0x9FFF), (0xAC00, 0xD7A3)]))
_SPACE = listed(" \t\n\v\f\r")
_MAYBE_SPACE = union(
    _SPACE,
    listed("\u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
    chars([(0x1C, 0x1F), (0x2000, 0x200A)]),
)
_LINE_ENDS = listed("\n\r\u2028\u2029")
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
_TIMES = re.compile(r"\{([0-9]{1,9})(?:(,)([0-9]{1,9})?)?\}")
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")
_GROUP_NAME = re.compile(r"\?<[A-Za-z_$][A-Za-z0-9_$]{0,99}>")


@dataclass(frozen=True)
class _Set:
    """What every reading of a set takes, and what some reading may take."""

    surely: Chars
    maybe: Chars

    def without(self) -> _Set:
        return _Set(complement(self.maybe), complement(self.surely))


_CLASSES = {
    "d": _Set(_DIGITS, complement(_NO_DIGITS)),
    "w": _Set(_WORD, union(_WORD, chars([(0x80, 0x10FFFF)]))),
    "s": _Set(_SPACE, _MAYBE_SPACE),
}


def parsed(pattern: str, *, widely: bool = False) -> Expression:
    """The expression that a pattern looks for.

    Args:
        pattern: The pattern.
        widely: Whether it takes what any reading of it takes, rather than what all of them do.

    Raises:
        EngineError: With code ``bad_request`` if it is none, or one that a grammar can't hold a model to.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise EngineError(
            f"A pattern may have {MAX_PATTERN_CHARS} characters.", code="bad_request", fix="Change the schema."
        )
    return _Reader(pattern, widely=widely).whole()


class _Reader:
    def __init__(self, pattern: str, *, widely: bool) -> None:
        self._text = pattern
        self._at = 0
        self._widely = widely

    def whole(self) -> Expression:
        found = self._choice(0)
        if self._at < len(self._text):
            raise self._bad("a bracket that nothing opens")
        return found

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, what: str) -> bool:
        if self._text.startswith(what, self._at):
            self._at += len(what)
            return True
        return False

    def _match(self, what: re.Pattern[str]) -> re.Match[str] | None:
        found = what.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _choice(self, depth: int) -> Expression:
        if depth > MAX_NESTING:
            raise self._bad(f"more than {MAX_NESTING} groups in one another")
        parts = [self._row(depth)]
        while self._take("|"):
            parts.append(self._row(depth))
        return Choice(tuple(parts)) if len(parts) > 1 else parts[0]

    def _row(self, depth: int) -> Expression:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(depth))
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _repeated(self, depth: int) -> Expression:
        bare_edge = self._next() in ("^", "$")
        part = self._part(depth)
        times = self._times()
        if times is None:
            return part
        if bare_edge:
            raise self._bad("a repeated ^ or $")
        self._take("?")  # which of several matches is found first changes nothing here
        return Repeat(part, *times)

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return times
        found = self._match(_TIMES)
        if not found:
            return None
        least = int(found[1])
        most = int(found[3]) if found[3] else None if found[2] else least
        if max(least, most or 0) > MAX_TIMES:
            raise self._bad(f"more than {MAX_TIMES} repeats")
        if most is not None and most < least:
            raise self._bad("repeats with the larger number first")
        return least, most

    def _part(self, depth: int) -> Expression:
        char = self._next()
        if char in "*+?{}]":
            raise self._bad(f"a {char} that stands for nothing: write \\{char}")
        self._at += 1
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._class()
        if char in "^$":
            return self._edge(at_end=char == "$")
        if char == ".":
            return self._one(complement(listed("\n") if self._widely else _LINE_ENDS))
        if char == "\\":
            found = self._escaped()
            return self._one(_exactly(found) if isinstance(found, int) else self._read(found))
        return self._one(listed(char))

    def _edge(self, *, at_end: bool) -> Expression:
        if not at_end or not self._widely:
            return Edge(at_end)
        # To some, a line end may still follow.
        return Choice((Edge(True), Row((OneOf(listed("\n")), Edge(True)))))

    def _read(self, some: _Set) -> Chars:
        return some.maybe if self._widely else some.surely

    def _one(self, some: Chars) -> Expression:
        kept = common(some, TEXT)
        if not kept:
            raise self._bad("only characters that an answer can't have")
        return OneOf(kept)

    def _group(self, depth: int) -> Expression:
        if self._next() == "?" and not self._take("?:") and not self._match(_GROUP_NAME):
            raise self._bad("lookaround or flags")
        found = self._choice(depth + 1)
        if not self._take(")"):
            raise self._bad("a bracket that nothing closes")
        return found

    def _class(self) -> Expression:
        negated = self._take("^")
        if self._next() == "]":
            raise self._bad("an empty class")
        parts = []
        while not self._take("]"):
            part = self._class_part()
            if self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                last = self._class_part()
                if not isinstance(part, int) or not isinstance(last, int) or last < part:
                    raise self._bad("a range in a class that has no ends or the larger one first")
                parts.append(_Set(chars([(part, last)]), chars([(part, last)])))
            else:
                parts.append(_Set(_exactly(part), _exactly(part)) if isinstance(part, int) else part)
        found = _Set(union(*(one.surely for one in parts)), union(*(one.maybe for one in parts)))
        return self._one(self._read(found.without() if negated else found))

    def _class_part(self) -> int | _Set:
        char = self._next()
        if not char:
            raise self._bad("a class that nothing closes")
        self._at += 1
        return self._escaped() if char == "\\" else ord(char)

    def _escaped(self) -> int | _Set:
        """What stands behind a backslash; a character as its code point."""
        code = self._match(_CODE)
        if code:
            return self._code(code)
        char = self._next()
        self._at += 1
        if char in _CONTROLS and not (char == "0" and self._next().isdigit()):
            return _CONTROLS[char]
        if char and char.lower() in _CLASSES:
            found = _CLASSES[char.lower()]
            return found.without() if char.isupper() else found
        if char.isascii() and char.isprintable() and not char.isalnum() and char:
            return ord(char)
        raise self._bad(f"\\{char}" if char.isascii() and char.isprintable() and char else "a backslash")

    def _code(self, found: re.Match[str]) -> int:
        value = int(found[1] or found[2] or found[3], 16)
        if 0xD800 <= value <= 0xDBFF and self._text.startswith("\\", self._at):
            second = _CODE.match(self._text, self._at + 1)
            low = int(second[2], 16) if second and second[2] else 0
            if second and 0xDC00 <= low <= 0xDFFF:
                self._at = second.end()
                return 0x10000 + (value - 0xD800) * 0x400 + low - 0xDC00
        if value > 0x10FFFF:
            raise self._bad("a character that there is not")
        return value

    def _bad(self, what: str) -> EngineError:
        line = f"The format of an answer can't be held to a pattern with {what} (near character {self._at})."
        return EngineError(line, code="bad_request", fix="Change the pattern.")


def _exactly(code: int) -> Chars:
    return ((code, code),)
