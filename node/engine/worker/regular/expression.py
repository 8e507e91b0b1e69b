"""Regular expressions as values, and the texts in which several of them are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import Automaton, automaton
from node.engine.worker.regular.charsets import TEXT, Chars, atoms, contains

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


_Places = frozenset[int]


def texts(sought: Sequence[Expression], least: int, most: int | None, what: str) -> Automaton:
    """The texts in which each of some expressions is found, with a length in characters.

    Args:
        sought: What is looked for anywhere in the text, unless an `Edge` says where.
        least: Least length.
        most: Greatest length, if there is one.
        what: What the schema calls all that, for the line of an error.

    Raises:
        EngineError: With code ``bad_request`` if there is no such text, or a grammar of it gets too large.
    """
    return automaton(_Search(sought, least, most, what), what)


class _Search:
    """A machine that knows, of every expression, all places where it may be, and how much has been read."""

    def __init__(self, sought: Sequence[Expression], least: int, most: int | None, what: str) -> None:
        self._reads: list[list[tuple[Chars, int]]] = []
        self._free: list[list[int]] = []
        self._edges: list[list[tuple[int, bool]]] = []
        self._least, self._most, self._what = least, most, what
        entries, self._found = [], []
        for one in sought:
            entries.append(self._place())
            last = self._add(Row((Repeat(OneOf(TEXT), 0, None), one)), entries[-1])
            self._found.append(self._place())
            self._free[last].append(self._found[-1])
        self.alphabet = atoms([TEXT, *(some for reads in self._reads for some, _ in reads)])
        self._moves = [
            [[to for some, to in reads if contains(some, atom[0][0])] for atom in self.alphabet]
            for reads in self._reads
        ]
        self._inside: dict[int, _Places] = {}
        first = (frozenset(self._reached([entry], at_start=True)) for entry in entries)
        self.start = (self._settled(first), 0)

    def steps(self, state: tuple[tuple[_Places, ...], int]) -> Iterable[tuple[int, object]]:
        """The places of the alphabet that a state takes, with the states they lead to."""
        found, length = state
        if length == self._most:
            return
        after = length + 1 if self._most is not None else min(length + 1, self._least)
        for number in range(len(self.alphabet)):
            parts = [
                some
                if some == {last}
                else _Places().union(*(self._behind(to) for place in some for to in self._moves[place][number]))
                for some, last in zip(found, self._found, strict=True)
            ]
            if all(parts):
                yield number, (self._settled(parts), after)

    def ends(self, state: tuple[tuple[_Places, ...], int]) -> bool:
        """Whether a text may end in a state."""
        found, length = state
        return length >= self._least and all(
            last in self._reached(some, at_end=True) for some, last in zip(found, self._found, strict=True)
        )

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
