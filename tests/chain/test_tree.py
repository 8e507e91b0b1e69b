import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.signing import keccak256
from chain.tree import DEPTH, EMPTY, Tree, root_from_proof

INDICES = st.one_of(
    st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0, 2**30, 2**31, 3 << 30, 2**32 - 1])
)
HASHES = st.one_of(st.just(EMPTY), st.binary(min_size=32, max_size=32))


def naive_root(leaves: dict[int, bytes], depth: int = DEPTH, start: int = 0) -> bytes:
    """The definition, with nothing cached and nothing clever."""
    within = {index: leaf for index, leaf in leaves.items() if start <= index < start + 2**depth and leaf != EMPTY}
    if not within:
        return EMPTY
    if depth == 0:
        return within[start]
    half = 2 ** (depth - 1)
    return keccak256(naive_root(within, depth - 1, start) + naive_root(within, depth - 1, start + half))


@settings(max_examples=60)
@given(st.lists(st.tuples(INDICES, HASHES, st.booleans()), max_size=30))
def test_the_cached_tree_is_the_naive_tree(writes):
    tree, leaves = Tree(), {}
    for index, leaf, look in writes:
        tree.set(index, leaf)
        leaves[index] = leaf
        if look:
            assert tree.root() == naive_root(leaves)
    assert tree.root() == naive_root(leaves)


@settings(max_examples=60)
@given(st.dictionaries(INDICES, HASHES, max_size=20), INDICES)
def test_every_leaf_and_every_absence_has_a_proof(leaves, other):
    tree = Tree()
    for index, leaf in leaves.items():
        tree.set(index, leaf)
    for index in [*leaves, other]:
        assert root_from_proof(index, leaves.get(index, EMPTY), tree.proof(index)) == tree.root()


def test_an_emptied_tree_is_the_empty_tree_and_keeps_nothing():
    tree = Tree()
    for index in (0, 5, 2**32 - 1):
        tree.set(index, b"\1" * 32)
    assert tree.root() != EMPTY
    for index in (0, 5, 2**32 - 1):
        tree.set(index, EMPTY)
    assert tree.root() == EMPTY
    assert not any(tree._levels)


def test_a_proof_of_another_leaf_or_place_leads_elsewhere():
    tree = Tree()
    tree.set(1, b"\1" * 32)
    tree.set(2, b"\2" * 32)
    assert root_from_proof(1, b"\3" * 32, tree.proof(1)) != tree.root()
    assert root_from_proof(2, b"\1" * 32, tree.proof(1)) != tree.root()


@pytest.mark.parametrize(
    ("index", "siblings"), [(0, []), (0, [EMPTY] * 31), (0, [b"short"] * 32), (2**32, [EMPTY] * 32), (-1, [EMPTY] * 32)]
)
def test_a_misshapen_proof_is_refused(index, siblings):
    with pytest.raises(ValueError, match="32 siblings"):
        root_from_proof(index, EMPTY, siblings)
