"""Regular expressions with their edges (``^`` and ``$``) moved outside, where nothing but a text's ends can be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from node.engine.protocol import EngineError
from node.engine.worker.regular.expression import Choice, Edge, Expression, OneOf, Repeat, Row

MAX_WAYS = 256
"""Alternatives that an expression may have once its edges stand outside."""
_NOTHING = Row(())


@dataclass(frozen=True)
class Anchored:
    """An expression without edges, found anywhere in a text or at its ends."""

    at_start: bool
    part: Expression
    at_end: bool


def anchored(one: Expression) -> list[Anchored]:
    """An expression as alternatives whose edges stand outside; none where it fits no text.

    Raises:
        EngineError: With code ``bad_request`` if there are too many.
    """
    if not _has_edge(one):
        return [Anchored(False, one, False)]
    match one:
        case Edge(at_end):
            return [Anchored(not at_end, _NOTHING, at_end)]
        case Choice(parts):
            return _few([way for part in parts for way in anchored(part)])
        case Repeat(part, least, most):
            return _few(_repeated(anchored(part), least, most))
        case Row(parts):
            ways = [Anchored(False, _NOTHING, False)]
            for part in parts:
                joined = (_joined(first, then) for first, then in product(ways, anchored(part)))
                ways = _few([way for way in joined if way is not None])
            return ways
        case OneOf():
            return [Anchored(False, one, False)]


def _repeated(ways: list[Anchored], least: int, most: int | None) -> list[Anchored]:
    """The same alternatives some times over: one that holds an edge comes first or last, and others between."""
    free = Choice(tuple(way.part for way in ways if not way.at_start and not way.at_end))
    made = [Anchored(False, Repeat(free, least, most), False)] if free.parts or not least else []
    edged = [way for way in ways if way.at_start or way.at_end]
    firsts = [way for way in edged if not way.at_end]
    lasts = [way for way in edged if not way.at_start]
    rows = [(way,) for way in edged] + list(product(firsts, lasts))
    for row in rows:
        if most is not None and len(row) > most:
            continue
        # An alternative that may be empty stands at its edge as often as it has to.
        rest = 0 if any(_may_be_empty(way.part) for way in row) else max(0, least - len(row))
        if rest and not free.parts:
            continue
        between = Repeat(free, rest, None if most is None else most - len(row)) if free.parts else _NOTHING
        at_start, at_end = row[0].at_start, row[-1].at_end
        if len(row) == 2:
            made.append(Anchored(True, Row((row[0].part, between, row[1].part)), True))
        elif at_start and at_end:
            made += [Anchored(True, row[0].part, True)] if not rest or _may_be_empty(between) else []
        elif at_start:
            made.append(Anchored(True, Row((row[0].part, between)), False))
        else:
            made.append(Anchored(False, Row((between, row[0].part)), True))
    return made


def _joined(first: Anchored, then: Anchored) -> Anchored | None:
    """One after the other, or nothing where an edge between them leaves no text that fits."""
    if then.at_start:
        if not _may_be_empty(first.part):
            return None
        first = Anchored(True, _NOTHING, first.at_end)
    if first.at_end:
        if not _may_be_empty(then.part):
            return None
        then = Anchored(then.at_start, _NOTHING, True)
    return Anchored(first.at_start or then.at_start, Row((first.part, then.part)), first.at_end or then.at_end)


def _has_edge(one: Expression) -> bool:
    match one:
        case Edge():
            return True
        case Row(parts) | Choice(parts):
            return any(map(_has_edge, parts))
        case Repeat(part):
            return _has_edge(part)
        case OneOf():
            return False


def _may_be_empty(one: Expression) -> bool:
    match one:
        case OneOf() | Edge():
            return False
        case Row(parts):
            return all(map(_may_be_empty, parts))
        case Choice(parts):
            return any(map(_may_be_empty, parts))
        case Repeat(part, least):
            return least == 0 or _may_be_empty(part)


def _few(ways: list[Anchored]) -> list[Anchored]:
    if len(ways) > MAX_WAYS:
        raise EngineError(
            "A pattern has too many ways to meet its ^ and $.", code="bad_request", fix="Make the pattern simpler."
        )
    return ways
