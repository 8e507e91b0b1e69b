"""The states after the newest batches on L1: what wallets have their balances and channels proven against."""

from __future__ import annotations

import asyncio
from collections import deque

from chain.sequencer.store import SequencerStore, read_leaf
from chain.state import GENESIS_ROOT, RollupState
from chain.types import Leaf

KEPT_BATCHES = 8
"""How many batches back a state can be proven: wallets read L1 a moment before or after this sequencer does."""
KEPT_LEAVES = 200_000
"""Older leaves that are kept at most for that."""
TRIES = 3
"""Finality and reorganizations change the database between two readings of it."""

_Undo = list[tuple[int, Leaf | None]]


class PostedProof:
    """A leaf and its siblings in the state after one batch."""

    __slots__ = ("leaf", "root", "siblings")

    def __init__(self, leaf: Leaf | None, root: bytes, siblings: list[bytes]) -> None:
        self.leaf = leaf
        self.root = root
        self.siblings = siblings


class PostedState:
    """A state tree that follows what stands on L1; built when somebody first asks, and checked against each root.

    Args:
        store: The sequencer's database.
    """

    def __init__(self, store: SequencerStore) -> None:
        self._store = store
        self._state: RollupState | None = None
        self._count = 0
        self._root = GENESIS_ROOT
        self._undo: deque[_Undo] = deque()
        """What each of the newest batches changed, newest last."""
        self._lock = asyncio.Lock()

    async def proof(self, key: int, batch_id: int, posted_count: int) -> PostedProof | None:
        """The proof of a state index after one of the newest batches; ``None`` where that one isn't kept.

        Args:
            key: The state index; a leaf that isn't there is proven absent.
            batch_id: After which batch.
            posted_count: How many batches stand on L1.

        Raises:
            SequencerStoreError: If the database can't be read.
        """
        if not posted_count - KEPT_BATCHES <= batch_id < posted_count:
            return None
        async with self._lock:
            for _ in range(TRIES):
                if await self._catch_up(posted_count):
                    return self._proof(key, batch_id)
                self._state = None
            return None

    async def _catch_up(self, posted_count: int) -> bool:
        """Bring the state to the newest batch; ``False`` where the database changed meanwhile, or lacks a batch."""
        if self._state is None or not await self._stands():
            await self._rebuild()
        while self._count < posted_count:
            row = await self._store.batch(self._count)
            if row is None or row.post_root is None:
                return False
            leaves = await self._store.batch_leaves(self._count, self._count + 1)
            self._apply(leaves)
            if self._root != row.post_root:
                return False
        return await self._stands()

    async def _stands(self) -> bool:
        if self._count == 0:
            return True
        row = await self._store.batch(self._count - 1)
        return row is not None and row.post_root == self._root

    async def _rebuild(self) -> None:
        count = await self._store.metadata("final_count")
        self._state = RollupState.from_leaves(
            [(key, read_leaf(data)) for key, data in await self._store.final_leaves()]
        )
        self._count = int.from_bytes(count or b"", "big")
        self._root = self._state.root()
        self._undo.clear()

    def _apply(self, leaves: list[tuple[int, bytes | None]]) -> None:
        assert self._state is not None
        state = self._state
        self._undo.append([(key, state.leaf(key)) for key, _ in leaves])
        for key, data in leaves:
            state.write(key, read_leaf(data) if data is not None else None)
        self._root = state.root()
        state.settle()
        self._count += 1
        while len(self._undo) >= KEPT_BATCHES or sum(map(len, self._undo)) > KEPT_LEAVES:
            self._undo.popleft()

    def _proof(self, key: int, batch_id: int) -> PostedProof | None:
        assert self._state is not None
        state, back = self._state, self._count - 1 - batch_id
        if back > len(self._undo):
            return None
        mark = state.mark()
        for changed in [*self._undo][len(self._undo) - back :][::-1]:
            for old_key, leaf in changed:
                state.write(old_key, leaf)
        found = PostedProof(state.leaf(key), state.root(), state.proof(key))
        state.rollback(mark)
        return found
