"""What is needed of an L1 about watchtowers that vouch for batches."""

from __future__ import annotations

from typing import Protocol

import msgspec


class AttesterBond(msgspec.Struct, frozen=True, kw_only=True):
    """What a watchtower put up."""

    amount_wei: int
    leaves_at_s: int
    """From when on it may be taken back; 0 while nobody asked."""

    def vouches(self) -> bool:
        """Whether it stands behind what is signed now: a bond on its way out doesn't."""
        return self.amount_wei > 0 and self.leaves_at_s == 0


class AttestedL1(Protocol):
    """The part of `RollupL1` that says who may vouch, and for what."""

    async def batch_hash(self, batch_id: int) -> bytes:
        """What a watchtower vouches for when it vouches for a batch that stands."""
        ...

    async def attester_bond(self, attester: bytes) -> AttesterBond:
        """What a watchtower put up."""
        ...
