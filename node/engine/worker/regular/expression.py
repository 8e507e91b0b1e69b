"""Regular expressions as values, and the texts in which several of them are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import MAX_WALKED, Automaton, automaton
from node.engine.worker.regular.charsets import TEXT, Chars, atoms, contains, listed

MAX_PLACES = 8_000
"""Places in all expressions that one text must match, their repeats written out."""


@dataclass(frozen=True)
class OneOf:
    """One character of a set."""

    chars: Chars


@dataclass(frozen=True)
class Edge:
    """Nothing, where the whole text begins or ends."""

    at_end: bool


@dataclass(frozen=True)
class Row:
    """One after the other."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    """Any one of these."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Repeat:
    """The same some times over; no most is without end."""

    part: Expression
    least: int
    most: int | None


Expression = OneOf | Edge | Row | Choice | Repeat


@dataclass(frozen=True)
class Search:
    """Texts in which each of some expressions is found, with a length in characters; no most is without end."""

    expressions: tuple[Expression, ...]
    least: int = 0
    most: int | None = None
    without: tuple[Expression, ...] = ()
    """Expressions that are not found in them."""
    excluded: tuple[str, ...] = ()
    """Texts that are none of these."""


_Places = frozenset[int]


def texts(
    sought: Sequence[Expression],
    least: int,
    most: int | None,
    what: str,
    *,
    without: Sequence[Expression] = (),
    excluded: Sequence[str] = (),
    may_be_empty: bool = False,
) -> Automaton:
    """The texts in which each of some expressions is found, with a length in characters.

    Args:
        sought: What is looked for anywhere in the text, unless an `Edge` says where.
        least: Least length.
        most: Greatest length, if there is one.
        what: What the schema calls all that, for the line of an error.
        without: What must not be found in it.
        excluded: Texts that it must not be.
        may_be_empty: Whether there may be no such text.

    Raises:
        EngineError: With code ``bad_request`` if there is no such text, or a grammar of it gets too large.
    """
    machine = _Search(Search(tuple(sought), least, most, tuple(without), tuple(excluded)), what)
    return automaton(machine, what, may_be_empty=may_be_empty)


def takes(asked: Search, text: str) -> bool:
    """Whether a text is one of these.

    Raises:
        EngineError: With code ``bad_request`` if there is no telling.
    """
    machine = _Search(asked, "a pattern")
    state: _State = machine.start
    for char in text:
        place = next((n for n, some in enumerate(machine.alphabet) if contains(some, ord(char))), None)
        found = [to for n, to in machine.steps(state) if n == place]
        if not found:
            return False
        state = found[0]
    return machine.ends(state)


def shortest(asked: Search, what: str) -> int | None:
    """The length of the shortest of these texts; None if there are none.

    Args:
        asked: The texts.
        what: What the schema calls them, for the line of an error.

    Raises:
        EngineError: With code ``bad_request`` if there is no telling.
    """
    machine = _Search(asked, what)
    seen, current, length = {machine.start}, [machine.start], 0
    while current:
        if any(map(machine.ends, current)):
            return length
        found = dict.fromkeys(to for state in current for _, to in machine.steps(state))
        current = [state for state in found if state not in seen]
        seen.update(current)
        length += 1
        if len(seen) > MAX_WALKED:
            raise EngineError(
                f"There is no telling whether anything fits {what}.", code="bad_request", fix="Make the schema simpler."
            )
    return None


_State = tuple[tuple[_Places, ...], int, str | None]


class _Search:
    """A machine that knows, of every expression, all places where it may be, and how much has been read.

    A state also has what was read as long as an excluded text begins with it.
    """

    def __init__(self, asked: Search, what: str) -> None:
        self._reads: list[list[tuple[Chars, int]]] = []
        self._free: list[list[int]] = []
        self._edges: list[list[tuple[int, bool]]] = []
        self._least, self._most, self._what = asked.least, asked.most, what
        self._wanted = len(asked.expressions)
        self._excluded = frozenset(asked.excluded)
        self._begun = {text[:size] for text in self._excluded for size in range(len(text) + 1)}
        entries, self._found = [], []
        for one in (*asked.expressions, *asked.without):
            entries.append(self._place())
            last = self._add(Row((Repeat(OneOf(TEXT), 0, None), one)), entries[-1])
            self._found.append(self._place())
            self._free[last].append(self._found[-1])
        signs = {char for text in self._excluded for char in text if contains(TEXT, ord(char))}
        singles = [listed(char) for char in sorted(signs)]
        self.alphabet = atoms([TEXT, *singles, *(some for reads in self._reads for some, _ in reads)])
        self._moves = [
            [[to for some, to in reads if contains(some, atom[0][0])] for atom in self.alphabet]
            for reads in self._reads
        ]
        self._inside: dict[int, _Places] = {}
        first = (frozenset(self._reached([entry], at_start=True)) for entry in entries)
        self.start: _State = (self._settled(first), 0, "" if self._excluded else None)

    def steps(self, state: _State) -> Iterable[tuple[int, _State]]:
        """The places of the alphabet that a state takes, with the states they lead to."""
        found, length, begun = state
        if length == self._most:
            return
        after = length + 1 if self._most is not None else min(length + 1, self._least)
        for number, atom in enumerate(self.alphabet):
            parts = [
                some
                if some == {last}
                else _Places().union(*(self._behind(to) for place in some for to in self._moves[place][number]))
                for some, last in zip(found, self._found, strict=True)
            ]
            if all(parts[: self._wanted]) and not self._is_spoilt(parts):
                # Each character of an excluded text is a set of its own in the alphabet.
                read = None if begun is None else begun + chr(atom[0][0])
                yield number, (self._settled(parts), after, read if read in self._begun else None)

    def _is_spoilt(self, parts: list[_Places]) -> bool:
        """Whether an expression that must not be found was found, whatever follows."""
        return any(last in some for some, last in zip(parts[self._wanted :], self._found[self._wanted :], strict=True))

    def ends(self, state: _State) -> bool:
        """Whether a text may end in a state."""
        found, length, begun = state
        if length < self._least or (begun is not None and begun in self._excluded):
            return False
        reached = [last in self._reached(some, at_end=True) for some, last in zip(found, self._found, strict=True)]
        return all(reached[: self._wanted]) and not any(reached[self._wanted :])

    def _settled(self, parts: Iterable[_Places]) -> tuple[_Places, ...]:
        # What was found once stays found, whatever follows.
        return tuple(frozenset({last}) if last in some else some for some, last in zip(parts, self._found, strict=True))

    def _behind(self, place: int) -> _Places:
        """Where one is after reading up to a place, without those places that only lead on."""
        if place not in self._inside:
            reached = self._reached([place])
            self._inside[place] = frozenset(
                one for one in reached if self._reads[one] or self._edges[one] or one in self._found
            )
        return self._inside[place]

    def _reached(self, places: Iterable[int], *, at_start: bool = False, at_end: bool = False) -> set[int]:
        reached, waiting = set(places), list(places)
        while waiting:
            place = waiting.pop()
            edges = [to for to, ending in self._edges[place] if (at_end if ending else at_start)]
            for to in (*self._free[place], *edges):
                if to not in reached:
                    reached.add(to)
                    waiting.append(to)
        return reached

    def _place(self) -> int:
        if len(self._reads) >= MAX_PLACES:
            raise EngineError(
                f"A grammar gets too large with {self._what}.", code="bad_request", fix="Make the schema simpler."
            )
        self._reads.append([])
        self._free.append([])
        self._edges.append([])
        return len(self._reads) - 1

    def _add(self, one: Expression, entry: int) -> int:
        """Add an expression behind a place; the place behind it."""
        match one:
            case OneOf(some):
                last = self._place()
                self._reads[entry].append((some, last))
                return last
            case Edge(at_end):
                last = self._place()
                self._edges[entry].append((last, at_end))
                return last
            case Row(parts):
                for part in parts:
                    entry = self._add(part, entry)
                return entry
            case Choice(parts):
                last = self._place()
                for part in parts:
                    begin = self._place()
                    self._free[entry].append(begin)
                    self._free[self._add(part, begin)].append(last)
                return last
            case Repeat(part, least, most):
                return self._add_repeat(part, least, most, entry)

    def _add_repeat(self, part: Expression, least: int, most: int | None, entry: int) -> int:
        for _ in range(least):
            entry = self._add(part, entry)
        last = self._place()
        if most is None:
            self._free[entry].append(last)
            self._free[self._add(part, last)].append(last)
            return last
        for _ in range(most - least):
            self._free[entry].append(last)
            entry = self._add(part, entry)
        self._free[entry].append(last)
        return last
