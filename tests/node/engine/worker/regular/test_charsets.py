"""Sets of characters add up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.engine.worker.regular.charsets import TEXT, atoms, chars, common, complement, contains, union

SETS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda one: (one[0], sum(one))), max_size=4).map(
    chars
)


def codes(some: tuple[tuple[int, int], ...]) -> set[int]:
    return {code for code in range(60) if contains(some, code)}


@given(SETS, SETS)
def test_sets_are_what_their_members_say(one, other):
    assert codes(union(one, other)) == codes(one) | codes(other)
    assert codes(common(one, other)) == codes(one) & codes(other)
    assert codes(complement(one)) == set(range(60)) - codes(one)
    assert complement(complement(one)) == one


@given(st.lists(SETS, max_size=4))
def test_atoms_are_disjoint_and_make_up_every_set(sets):
    found = atoms(sets)
    assert sum(len(codes(one)) for one in found) == len(set().union(*map(codes, sets), *map(codes, found)))
    for some in sets:
        assert codes(some) == set().union(*(codes(one) for one in found if codes(one) & codes(some)))


def test_an_answer_has_line_ends_but_no_control_characters_or_half_characters():
    assert [contains(TEXT, code) for code in (0x0A, 0x20, 0x1F600, 0x00, 0x07, 0x7F, 0xD800)] == [True] * 3 + [
        False
    ] * 4
