"""The state roots that an L1 has, read by whoever checks what a sequencer says against them."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from chain.l1.answers import contradiction, integer
from chain.l1.contracts import ContractsL1


class PostedRoot(msgspec.Struct, frozen=True, kw_only=True):
    """The state root after one batch that stands on L1."""

    batch_id: int
    root: bytes
    posted_at_s: int
    is_final: bool


class Roots(Protocol):
    """Where roots come from; `RootsL1` reads them from an L1."""

    async def newest_root(self) -> PostedRoot | None:
        """The root after the newest batch that stands; ``None`` before the first."""
        ...


class RootsL1(ContractsL1):
    """Reads roots from the contract's own storage: no logs, no batch data."""

    async def newest_root(self) -> PostedRoot | None:
        """The root after the newest batch that stands; ``None`` before the first.

        Raises:
            ChainUnavailableError: If L1 can't be reached or answers nonsense.
        """
        functions = self._rollup.functions
        count = integer(await self._call(functions.count()))
        if not count:
            return None
        records: list[Any] = await self._call(functions.batches(count - 1, 1))
        if not records:
            # It was taken back between the two readings.
            return None
        _, root, _, submitted_at_s, *_ = records[0]
        if not isinstance(root, bytes) or len(root) != 32:
            contradiction("a batch has no state root")
        final = integer(await self._call(functions.finalCount()))
        return PostedRoot(batch_id=count - 1, root=root, posted_at_s=integer(submitted_at_s), is_final=final >= count)
