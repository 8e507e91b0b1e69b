"""The L2 state in memory: leaves, the tree over them, and a journal that takes back what failed.

A write only notes its leaf. Leaves are hashed when a root or a proof is asked for, so that one which is written many
times in a frame, as the meta leaf is, is hashed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from chain.signing import keccak256
from chain.tree import EMPTY, Tree
from chain.types import (
    META_KEY,
    Account,
    Channel,
    Leaf,
    Meta,
    Withdrawal,
    channel_key,
    withdrawal_key,
)


class _Watched:
    """Leaves that note every state index which is read or written. They stand in only while somebody records."""

    def __init__(self, leaves: dict[int, Leaf]) -> None:
        self.leaves = leaves
        self.keys: set[int] = set()

    def get(self, key: int) -> Leaf | None:
        self.keys.add(key)
        return self.leaves.get(key)

    def __getitem__(self, key: int) -> Leaf:
        self.keys.add(key)
        return self.leaves[key]

    def __setitem__(self, key: int, leaf: Leaf) -> None:
        self.keys.add(key)
        self.leaves[key] = leaf

    def pop(self, key: int, default: None) -> Leaf | None:
        self.keys.add(key)
        return self.leaves.pop(key, default)

    def items(self) -> Iterable[tuple[int, Leaf]]:
        self.keys.update(self.leaves)
        return self.leaves.items()


class RollupState:
    """Every leaf of one L2 state. Writes are journaled: ``rollback`` undoes back to a ``mark``."""

    def __init__(self) -> None:
        self._leaves: dict[int, Leaf] | _Watched = {}
        self._tree = Tree()
        self._unhashed: set[int] = set()
        self._journal: list[tuple[int, Leaf | None]] = []

    @classmethod
    def genesis(cls) -> RollupState:
        """The state before the first batch: a meta leaf and nothing else."""
        return cls.from_leaves([(META_KEY, Meta())])

    @classmethod
    def from_leaves(cls, leaves: Iterable[tuple[int, Leaf]]) -> RollupState:
        """A state with these leaves (the meta leaf among them)."""
        state = cls()
        for key, leaf in leaves:
            state.write(key, leaf)
        state.settle()
        return state

    @property
    def meta(self) -> Meta:
        """The meta leaf.

        Raises:
            KeyError: If the state was built without one.
        """
        leaf = self._leaves[META_KEY]
        assert isinstance(leaf, Meta)
        return leaf

    def account(self, number: int) -> Account | None:
        """The account of this number, if it exists."""
        leaf = self._leaves.get(number) if number < 1 << 30 else None  # its state index, account_key(number)
        return leaf if isinstance(leaf, Account) else None

    def channel(self, channel_id: int) -> Channel | None:
        """The channel of this id, if it is open."""
        leaf = self._leaves.get(channel_key(channel_id)) if channel_id < 1 << 30 else None
        return leaf if isinstance(leaf, Channel) else None

    def withdrawal(self, number: int) -> Withdrawal | None:
        """The withdrawal of this number, if there is one."""
        leaf = self._leaves.get(withdrawal_key(number)) if number < 1 << 30 else None
        return leaf if isinstance(leaf, Withdrawal) else None

    def leaf(self, key: int) -> Leaf | None:
        """The leaf at a state index."""
        return self._leaves.get(key)

    def items(self) -> list[tuple[int, Leaf]]:
        """Every leaf with its state index."""
        return list(self._leaves.items())

    def write(self, key: int, leaf: Leaf | None) -> None:
        """Put a leaf at a state index, or remove it with ``None``."""
        leaves = self._leaves
        self._journal.append((key, leaves.get(key)))
        if leaf is None:
            leaves.pop(key, None)
        else:
            leaves[key] = leaf
        self._unhashed.add(key)

    def mark(self) -> int:
        """A point that ``rollback`` can return to, valid until ``settle``."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo every write since ``mark``."""
        while len(self._journal) > mark:
            key, leaf = self._journal.pop()
            if leaf is None:
                self._leaves.pop(key, None)
            else:
                self._leaves[key] = leaf
            self._unhashed.add(key)

    def settle(self) -> set[int]:
        """Forget the journal; returns the state indices written since the last time."""
        written = {key for key, _ in self._journal}
        self._journal.clear()
        return written

    @contextmanager
    def recording(self) -> Iterator[set[int]]:
        """Note every state index that is read or written inside, absent leaves included; one recording at a time."""
        leaves = self._leaves
        assert isinstance(leaves, dict)
        watched = self._leaves = _Watched(leaves)
        try:
            yield watched.keys
        finally:
            self._leaves = leaves

    def root(self) -> bytes:
        """The state root."""
        return self._hashed_tree().root()

    def proof(self, key: int) -> list[bytes]:
        """The 32 siblings of a leaf, from the bottom up; also for an absent leaf."""
        return self._hashed_tree().proof(key)

    def multiproof(self, keys: Sequence[int]) -> list[bytes]:
        """The siblings that lead from several leaves, given by ascending state index, to the root together."""
        return self._hashed_tree().multiproof(keys)

    def _hashed_tree(self) -> Tree:
        for key in self._unhashed:
            leaf = self._leaves.get(key)
            self._tree.set(key, EMPTY if leaf is None else keccak256(leaf.encode()))
        self._unhashed.clear()
        return self._tree


GENESIS_ROOT = RollupState.genesis().root()
"""The state root that the rollup contract starts from."""
