"""Finite automata: walked state by state, then trimmed and made as small as they get."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from node.engine.protocol import EngineError
from node.engine.worker.regular.charsets import Chars

MAX_WALKED = 16_000
"""States looked at on the way to an automaton."""
MAX_STATES = 2_000
"""States of an automaton: each becomes a rule of a grammar."""


class Machine(Protocol):
    """A deterministic automaton whose states show as it is walked."""

    @property
    def alphabet(self) -> Sequence[Chars]:
        """Disjoint sets of characters; a step takes any character of one of them."""
        ...

    @property
    def start(self) -> Any:
        """Where a text begins."""
        ...

    def steps(self, state: Any) -> Iterable[tuple[int, Hashable]]:
        """The places of the alphabet that a state takes, each once, with the states they lead to."""
        ...

    def ends(self, state: Any) -> bool:
        """Whether a text may end in a state."""
        ...


@dataclass(frozen=True)
class Automaton:
    """Texts, from state 0; every state can reach an end."""

    alphabet: tuple[Chars, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]
    """By state: places of the alphabet and the states they lead to."""
    ends: frozenset[int]

    def takes(self, text: str) -> bool:
        """Whether a text is one of these."""
        state = 0
        for char in text:
            for place, target in self.steps[state]:
                if any(low <= ord(char) <= high for low, high in self.alphabet[place]):
                    state = target
                    break
            else:
                return False
        return state in self.ends


NO_TEXTS = Automaton((), ((),), frozenset())
"""What takes nothing."""


def automaton(machine: Machine, what: str, *, may_be_empty: bool = False) -> Automaton:
    """The smallest automaton for a machine's texts.

    Args:
        machine: The machine, walked from its start.
        what: What the schema calls it, for the line of an error.
        may_be_empty: Whether it may take nothing.

    Raises:
        EngineError: With code ``bad_request`` if it takes nothing, or too many states.
    """
    steps, ends = _walked(machine, what)
    kept = _living(steps, ends)
    if 0 not in kept and may_be_empty:
        return NO_TEXTS
    if 0 not in kept:
        raise EngineError(f"Nothing fits {what}.", code="bad_request", fix="Change the schema.")
    steps = [[(place, to) for place, to in some if to in kept] if n in kept else [] for n, some in enumerate(steps)]
    made = _numbered(tuple(machine.alphabet), steps, ends, _groups(steps, ends, kept))
    if len(made.steps) > MAX_STATES:
        raise _large(what)
    return made


def _walked(machine: Machine, what: str) -> tuple[list[list[tuple[int, int]]], set[int]]:
    numbers: dict[Hashable, int] = {machine.start: 0}
    found: list[Any] = [machine.start]
    steps: list[list[tuple[int, int]]] = []
    for state in found:
        row = []
        for place, target in machine.steps(state):
            if target not in numbers:
                numbers[target] = len(found)
                found.append(target)
                if len(found) > MAX_WALKED:
                    raise _large(what)
            row.append((place, numbers[target]))
        steps.append(row)
    return steps, {number for number, state in enumerate(found) if machine.ends(state)}


def _living(steps: list[list[tuple[int, int]]], ends: set[int]) -> set[int]:
    """The states from which an end can be reached."""
    into: list[list[int]] = [[] for _ in steps]
    for state, row in enumerate(steps):
        for _, target in row:
            into[target].append(state)
    living, waiting = set(ends), list(ends)
    while waiting:
        for state in into[waiting.pop()]:
            if state not in living:
                living.add(state)
                waiting.append(state)
    return living


def _groups(steps: list[list[tuple[int, int]]], ends: set[int], kept: set[int]) -> list[int]:
    """By state, a number that states with the same continuations share.

    Hopcroft's algorithm ("An n log n algorithm for minimizing states in a finite automaton", 1971), for steps that may
    be missing (Valmari and Lehtinen, "Efficient minimization of DFAs with partial transition functions", 2008).
    """
    into: dict[int, dict[int, list[int]]] = {}
    for state in kept:
        for place, target in steps[state]:
            into.setdefault(target, {}).setdefault(place, []).append(state)
    blocks = [kept - ends, kept & ends]
    group = [int(state in ends) for state in range(len(steps))]
    waiting = {0, 1}
    while waiting:
        sources: dict[int, set[int]] = {}
        for target in blocks[waiting.pop()]:
            for place, states in into.get(target, {}).items():
                sources.setdefault(place, set()).update(states)
        for states_in in sources.values():
            touched: dict[int, set[int]] = {}
            for state in states_in:
                touched.setdefault(group[state], set()).add(state)
            for number, part in touched.items():
                rest = blocks[number] - part
                if not rest:
                    continue
                blocks[number], new = rest, len(blocks)
                blocks.append(part)
                for state in part:
                    group[state] = new
                waiting.add(new if number in waiting or len(part) <= len(rest) else number)
    return group


def _numbered(
    alphabet: tuple[Chars, ...], steps: list[list[tuple[int, int]]], ends: set[int], groups: list[int]
) -> Automaton:
    """One state a group, in the order in which they are met."""
    numbers = {groups[0]: 0}
    order = [0]
    made = []
    for state in order:
        row = {}
        for place, target in steps[state]:
            if groups[target] not in numbers:
                numbers[groups[target]] = len(order)
                order.append(target)
            row[place] = numbers[groups[target]]
        made.append(tuple(row.items()))
    last = frozenset(number for number, state in enumerate(order) if state in ends)
    return Automaton(alphabet, tuple(made), last)


def _large(what: str) -> EngineError:
    return EngineError(f"A grammar gets too large with {what}.", code="bad_request", fix="Make the schema simpler.")
