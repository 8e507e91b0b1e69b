"""Sets of characters as sorted, disjoint, inclusive ranges of code points."""

from __future__ import annotations

from collections.abc import Iterable

Chars = tuple[tuple[int, int], ...]

LAST = 0x10FFFF


def chars(ranges: Iterable[tuple[int, int]]) -> Chars:
    """The set of all characters in some ranges, in any order and overlapping or not."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = made[-1][0], max(made[-1][1], high)
        else:
            made.append((low, high))
    return tuple(made)


def listed(text: str) -> Chars:
    """The set of a text's characters."""
    return chars((ord(char), ord(char)) for char in text)


def union(*sets: Chars) -> Chars:
    """What is in any of some sets."""
    return chars(one for some in sets for one in some)


def complement(some: Chars) -> Chars:
    """Every code point that is not in a set."""
    made, after = [], 0
    for low, high in some:
        if low > after:
            made.append((after, low - 1))
        after = high + 1
    if after <= LAST:
        made.append((after, LAST))
    return tuple(made)


def common(one: Chars, other: Chars) -> Chars:
    """What is in both sets."""
    return complement(union(complement(one), complement(other)))


def contains(some: Chars, code: int) -> bool:
    """Whether a code point is in a set."""
    return any(low <= code <= high for low, high in some)


def atoms(sets: Iterable[Chars]) -> list[Chars]:
    """The coarsest disjoint sets of which every given set is made up."""
    edges: dict[int, list[int]] = {}
    for number, some in enumerate(dict.fromkeys(sets)):
        for low, high in some:
            edges.setdefault(low, []).append(number)
            edges.setdefault(high + 1, []).append(number)
    made: dict[frozenset[int], list[tuple[int, int]]] = {}
    inside: frozenset[int] = frozenset()
    since = 0
    for edge in sorted(edges):
        if inside:
            made.setdefault(inside, []).append((since, edge - 1))
        # A set that ends where its next range begins isn't one of these: its ranges don't touch.
        inside ^= frozenset(edges[edge])
        since = edge
    return [chars(ranges) for ranges in made.values()]


TEXT = complement(chars([(0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x7F), (0xD800, 0xDFFF)]))
"""The characters that an answer is written with: no control characters but tab and line ends, no half characters."""
