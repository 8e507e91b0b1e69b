"""The state tree: a sparse binary keccak tree of depth 32 with cached nodes.

``node(l, r) = keccak(l ‖ r)``, except that two empty children make an empty node; an absent leaf is 32 zero bytes.
Writes only mark their path; hashing happens once, when a root or a proof is asked for, so that paths which meet are
hashed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from chain.signing import Keccak256, keccak256

DEPTH = 32
EMPTY = bytes(32)


class Tree:
    """Leaf hashes by state index, and every inner node above them.

    Memory is one 32-byte hash for every node on a populated path; an update costs at most 32 hashes.
    """

    def __init__(self) -> None:
        self._levels: list[dict[int, bytes]] = [{} for _ in range(DEPTH + 1)]
        self._steps = list(zip(self._levels, self._levels[1:], strict=False))
        """Each level with the one above it."""
        self._dirty: set[int] = set()

    def set(self, index: int, leaf_hash: bytes) -> None:
        """Write a leaf's hash; 32 zero bytes remove it."""
        leaves = self._levels[0]
        if leaf_hash == leaves.get(index, EMPTY):
            return
        if leaf_hash == EMPTY:
            del leaves[index]
        else:
            leaves[index] = leaf_hash
        self._dirty.add(index)

    def root(self) -> bytes:
        """The root of everything written so far."""
        self._settle()
        return self._levels[DEPTH].get(0, EMPTY)

    def proof(self, index: int) -> list[bytes]:
        """The 32 siblings on the way from a leaf up to the root."""
        self._settle()
        return [self._levels[level].get(index >> level ^ 1, EMPTY) for level in range(DEPTH)]

    def multiproof(self, indices: Sequence[int]) -> list[bytes]:
        """The siblings on the way from several leaves, given in ascending order, up to the root.

        They stand level by level from the bottom up, in each from left to right, and only where the walk from those
        leaves doesn't compute them itself.
        """
        self._settle()
        siblings: list[bytes] = []
        nodes = list(indices)
        for level in range(DEPTH):
            at_level, known = self._levels[level], set(nodes)
            siblings += [at_level.get(index ^ 1, EMPTY) for index in nodes if index ^ 1 not in known]
            nodes = list(dict.fromkeys(index >> 1 for index in nodes))
        return siblings

    def _settle(self) -> None:
        if not self._dirty:
            return
        # Climb each leaf's path until just below where it meets the next leaf's path, so that each node is hashed
        # once, by the last leaf under it.
        indices = sorted(self._dirty)
        for index, following in pairwise(indices):
            self._climb(index, (index ^ following).bit_length() - 1)
        self._climb(indices[-1], DEPTH)
        self._dirty.clear()

    def _climb(self, index: int, height: int) -> None:
        # The rollup's innermost loop: a transfer costs about sixteen nodes of its frame's root.
        empty = EMPTY
        node = self._levels[0].get(index, empty)
        for level, above in self._steps[:height]:
            sibling = level.get(index ^ 1, empty)
            is_right = index & 1
            index >>= 1
            # No level holds an empty node, so an absent one is this very object.
            if node is empty and sibling is empty:
                above.pop(index, None)
            else:
                above[index] = node = Keccak256(sibling + node if is_right else node + sibling).digest()


def root_from_proof(index: int, leaf_hash: bytes, siblings: Sequence[bytes]) -> bytes:
    """The root that a leaf and its siblings lead to, as the contracts compute it.

    Args:
        index: The leaf's state index.
        leaf_hash: 32 bytes; zeros for an absent leaf.
        siblings: 32 hashes, from the leaf up.

    Raises:
        ValueError: If there are not 32 siblings of 32 bytes, or the index has more than 32 bits.
    """
    if len(siblings) != DEPTH or any(len(sibling) != len(EMPTY) for sibling in siblings) or not 0 <= index < 1 << DEPTH:
        raise ValueError("a proof has 32 siblings of 32 bytes")
    node = leaf_hash
    for level, sibling in enumerate(siblings):
        left, right = (sibling, node) if index >> level & 1 else (node, sibling)
        node = EMPTY if left == EMPTY and right == EMPTY else keccak256(left + right)
    return node
