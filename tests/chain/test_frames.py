"""The tree over a batch's frames, in Python; tests/chain/contracts holds the contract to the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.frames import frame_siblings
from chain.signing import keccak256
from chain.tree import EMPTY
from tests.chain.support import frames_root


def climb(leaf: bytes, index: int, siblings: tuple[bytes, ...]) -> bytes:
    for sibling in siblings:
        pair = sibling + leaf if index & 1 else leaf + sibling
        leaf = EMPTY if pair == EMPTY * 2 else keccak256(pair)
        index >>= 1
    return leaf


@settings(max_examples=50)
@given(st.integers(1, 70), st.data())
def test_every_frame_is_proven_by_its_siblings_and_no_other_is(count: int, data: st.DataObject) -> None:
    leaves = [keccak256(bytes([number])) for number in range(count)]
    index = data.draw(st.integers(0, count - 1))

    siblings = frame_siblings(leaves, index)

    assert 1 << len(siblings) >= count > (1 << len(siblings)) // 2
    assert climb(leaves[index], index, siblings) == frames_root(leaves)
    assert climb(keccak256(b"another"), index, siblings) != frames_root(leaves)


@pytest.mark.parametrize("count", [1, 2])
def test_small_trees_are_what_they_look_like(count: int) -> None:
    leaves = [bytes([number]) * 32 for number in range(1, count + 1)]

    assert frames_root(leaves) == (leaves[0] if count == 1 else keccak256(leaves[0] + leaves[1]))
